"""How well a text can be told from what is behind it, by WCAG 2: from 1 to 21."""

# Called with an element and the colour behind its page, which is transparent.
CONTRAST = """(element, page) => {
  const channels = colour => (colour.match(/[0-9.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const over = (under, [r, g, b, a = 1]) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(getComputedStyle(e).backgroundColor);
  const under = [...layers, page].reverse().map(channels).reduce(over, [0, 0, 0]);
  const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = colour => colour.map(c => linear(c / 255))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const text = over(under, channels(getComputedStyle(element).color));
  const [x, y] = [light(text), light(under)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}"""
