"use strict";
// What every page has: its data, its elements, its theme, the wipe, maps of colour, and where results come from.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

/** An element; children that are text are written as text. Attributes that are functions listen. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A number as text, with a dash for one that there is not. */
function number(value, digits) {
  if (value === null || value === undefined) return "–";
  return value.toFixed(digits).replace("-", "−");
}

// The interval of a metric below its mean: a dash where images are too few, nothing where single images lack the metric.
function intervalOf(row, metric) {
  const ends = (row.interval || {})[metric.name];
  if (ends === undefined) return null;
  return make("small", {}, ends ? `${number(ends[0], metric.digits)} … ${number(ends[1], metric.digits)}` : "–");
}

const withUnit = (metric, value) => number(value, metric.digits) + (metric.unit ? ` ${metric.unit}` : "");

function direction(metric) {
  if (metric.higher === null) return metric.note || "neither end is best";
  return metric.higher ? "↑ higher is better" : "↓ lower is better";
}

/** The best value of a metric that has a direction, or undefined. */
function bestOf(rows, metric) {
  const known = rows.map((row) => row[metric.name]).filter((value) => value !== null && value !== undefined);
  if (!known.length) return undefined;
  return metric.higher ? Math.max(...known) : Math.min(...known);
}

/** "DO" as t with an index, other names as they are. */
function stopName(stop) {
  if (!stop.title || stop.name === "target") return [stop.name];
  return [make("i", {}, "t"), make("sub", {}, stop.name)];
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function showTheme() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  byId("theme").setAttribute("aria-pressed", String(isDark()));
}

function toggleTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
}

/** Let the range over a picture move the border between what was measured and what was made of it. */
function wipe(range, root) {
  const move = () => {
    root.style.setProperty("--cut", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % of the width show the left picture`);
  };
  range.addEventListener("input", move);
  move();
}

// Maps of colour: dark is 0, light the top of the scale.

const COLOURS = [[6, 5, 20], [74, 18, 96], [165, 44, 96], [229, 92, 48], [251, 180, 26], [252, 255, 190]];

function colour(share) {
  const place = Math.min(Math.max(share, 0), 1) * (COLOURS.length - 1);
  const below = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[below].map((channel, i) => channel + (place - below) * (COLOURS[below + 1][i] - channel));
}

async function pixelsOf(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** A picture of `share(i)`, in [0, 1], of every pixel, i its place among the bytes. */
function mapOf(pixels, share) {
  const made = new ImageData(pixels.width, pixels.height);
  for (let i = 0; i < made.data.length; i += 4) {
    made.data.set(colour(share(i)), i);
    made.data[i + 3] = 255;
  }
  const canvas = make("canvas", { width: pixels.width, height: pixels.height });
  canvas.getContext("2d").putImageData(made, 0, 0);
  return canvas.toDataURL();
}

const maps = new Map();

function once(key, find) {
  if (!maps.has(key)) maps.set(key, find());
  return maps.get(key);
}

/** |picture - clean|, mean over the channels, as colours; `top` is the brightest, in units of the [0, 1] range. */
async function errorMap(uri, cleanUri, top) {
  const [picture, clean] = await Promise.all([pixelsOf(uri), pixelsOf(cleanUri)]);
  const [a, b] = [picture.data, clean.data];
  const gap = (i) => Math.abs(a[i] - b[i]) + Math.abs(a[i + 1] - b[i + 1]) + Math.abs(a[i + 2] - b[i + 2]);
  return mapOf(picture, (i) => gap(i) / (3 * 255 * top));
}

async function heatMap(uri) {
  const grey = await pixelsOf(uri);
  return mapOf(grey, (i) => grey.data[i] / 255);
}

/** The scale of a map, with its ends in words. */
function bar(name, top) {
  const canvas = make("canvas", { width: 100, height: 1, "aria-hidden": "true" });
  const line = new ImageData(100, 1);
  for (let i = 0; i < 100; i += 1) line.data.set([...colour(i / 99), 255], 4 * i);
  canvas.getContext("2d").putImageData(line, 0, 0);
  return make("div", {}, make("span", {}, `${name} 0`), canvas, make("span", {}, `${number(top, 2)} of the range`));
}

/** Keys that pages listen to where no field takes them. */
function listen(keys) {
  document.addEventListener("keydown", (event) => {
    const taken = event.target.closest("input, select, textarea, .scroll");
    const arrow = event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End";
    if (event.ctrlKey || event.metaKey || event.altKey || (taken && arrow)) return;
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function showKeys(lines) {
  const entry = ([keys, what]) =>
    make("div", {}, make("dt", {}, ...keys.map((key) => make("kbd", {}, key))), make("dd", {}, what));
  byId("keys").replaceChildren(...lines.map(entry));
}

function showFrame() {
  for (const part of ["kicker", "title", "lede"]) byId(part).textContent = data.words[part];
  byId("theme").addEventListener("click", toggleTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  showTheme();
  byId("notes").replaceChildren(...data.notes.map((note) => make("li", {}, note)));
  const origin = data.origin;
  byId("origin").hidden = !origin;
  if (!origin) return;
  byId("command").textContent = origin.command;
  byId("settings").textContent = origin.settings;
  byId("recipe").textContent = JSON.stringify(origin.recipe, null, 2);
  const facts = [["made", origin.date], ["seed", origin.seed], ...Object.entries(origin.versions)];
  const entry = ([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value)));
  byId("facts").replaceChildren(...facts.map(entry));
}
