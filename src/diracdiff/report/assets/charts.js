// Charts: axes, lines and points, as SVG.

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const scale = (domain, range) => (value) =>
  range[0] + ((value - domain[0]) / (domain[1] - domain[0])) * (range[1] - range[0]);

/** Round numbers between two, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + 1e-9 * step; i += 1) found.push(i * step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return found.map((value) => ({ value, text: number(value, digits) }));
}

/** The range of values, with some air. */
function spread(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (!known.length) return [0, 1];
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const air = 0.08 * (high - low) || 0.05 * Math.abs(high) || 0.01;
  return [low - air, high + air];
}

/** Points as a path that is broken where a value is missing. */
function path(points) {
  let pen = "M";
  return points.map(([x, y]) => {
    if (x === null || y === null || !Number.isFinite(x + y)) {
      pen = "M";
      return "";
    }
    const part = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
    return part;
  }).join("");
}

/** Horizontal lines with numbers at the left. */
function rows(box, y, marks) {
  return marks.flatMap(({ value, text }) => [
    svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }),
    svg("text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, text),
  ]);
}

/** Numbers below. */
function columns(box, x, marks, below = 16) {
  return marks.map(({ value, text }) => svg("text", { x: x(value), y: box.bottom + below, "text-anchor": "middle" }, text));
}
