"""The long run over the zoo: every member imported by the command line, and compared with Keras in another process."""
