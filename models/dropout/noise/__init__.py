"""Random numbers in the graph: Philox words from a seed, masks for many passes from the words, a layer's draw."""
