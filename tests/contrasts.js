// [what, contrast that it needs, contrast that it has] of all text, controls and colours of marks that a page shows.
(() => {
  const parse = (text) => { const n = text.match(/[\d.]+/g).map(Number); return [...n.slice(0, 3), n[3] ?? 1]; };
  const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (e.getClientRects().length === 0 || e.closest('.unseen, .skip')) continue;
    const style = getComputedStyle(e);
    if (own || /^(INPUT|SELECT|TEXTAREA)$/.test(e.tagName)) found.push([e.outerHTML.slice(0, 80), 4.5, ratio(parse(style.color), behind(e))]);
    if (/^(BUTTON|SELECT|TEXTAREA)$/.test(e.tagName) || (e.tagName === 'INPUT' && /^(number|text|password)$/.test(e.type)))
      found.push([e.outerHTML.slice(0, 80), 3, Math.max(ratio(parse(style.borderTopColor), behind(e.parentElement)), ratio(behind(e), behind(e.parentElement)))]);
  }
  const root = getComputedStyle(document.documentElement);
  const probe = document.body.appendChild(document.createElement('i'));
  const named = (name) => { probe.style.color = root.getPropertyValue(name); return parse(getComputedStyle(probe).color); };
  for (const mark of ['--accent', '--text', '--other', '--line', '--error', '--warning']) found.push([mark, 3, ratio(named(mark), named('--panel'))]);
  probe.remove();
  return found;
})()
