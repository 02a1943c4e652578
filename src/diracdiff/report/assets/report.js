"use strict";
// Pictures and charts of a report. `state` holds the selection, and render() displays it.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const { metrics, entries, trajectories, stops, images } = data;
const charted = metrics.filter((metric) =>
  trajectories.some((each) => each.points.some((point) => typeof point.row[metric.name] === "number")));
const judged = metrics.filter((metric) => metric.higher !== null);
const times = [...new Set(trajectories.flatMap((each) => each.points).filter((point) => point.pictures).map((point) => point.row.t))]
  .sort((a, b) => b - a);
const COLOURS = ["#3f7fc4", "#d0603f", "#2f9e77", "#a569bd", "#c79a1e", "#6c7a89", "#c2578f", "#5b8c2a"];
const options = { responsive: true, displayModeBar: false };
const state = { image: 0, left: "e1", right: "e0", step: 0 };

/** Create an element with children. Function attributes are event listeners. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Escape text for Plotly, which interprets a subset of HTML. */
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const number = (value, digits) => (typeof value === "number" ? value.toFixed(digits).replace("-", "−") : "–");
const withUnit = (metric, value) => number(value, metric.digits) + (metric.unit ? ` ${metric.unit}` : "");
const style = (name) => {
  const probe = document.body.appendChild(make("i", { style: `color: var(${name})` }));
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
};

// Pictures

const trajectoryOf = (key) => (key[0] === "t" ? trajectories[Number(key.slice(1))] : null);

/** Return the entry of a key: a fixed entry, or the nearest point in time of a trajectory with pictures. */
function entryOf(key) {
  const trajectory = trajectoryOf(key);
  if (!trajectory) return entries[Number(key.slice(1))];
  const gap = (point) => Math.abs(point.row.t - times[state.step]);
  return trajectory.points.filter((point) => point.pictures).reduce((a, b) => (gap(b) < gap(a) ? b : a));
}

function nameOf(key) {
  const trajectory = trajectoryOf(key);
  return trajectory ? `${trajectory.name} at t = ${number(entryOf(key).row.t, 2)}` : entryOf(key).name;
}

function showPictures() {
  const figures = [];
  for (const [key, picture, chip] of [[state.left, "before", "before-name"], [state.right, "after", "after-name"]]) {
    const entry = entryOf(key);
    $(picture).src = entry.pictures[state.image];
    $(picture).alt = `${nameOf(key)} of ${images[state.image]}`;
    $(chip).textContent = nameOf(key);
    const values = (entry.values || [])[state.image] || {};
    const known = metrics.filter((metric) => typeof values[metric.name] === "number");
    if (known.length) figures.push(`${nameOf(key)}: ${known.map((metric) => `${metric.title} ${withUnit(metric, values[metric.name])}`).join(", ")}`);
  }
  $("reference").src = entries[0].pictures[state.image];
  $("figures").textContent = `${images[state.image]}. ${figures.join(". ")}`;
  $("left").value = state.left;
  $("right").value = state.right;
  [...$("picker").children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === state.image)));
}

function showTime() {
  $("t").value = state.step;
  $("t-now").textContent = number(times[state.step], 2);
  const row = trajectoryOf(state.right) && entryOf(state.right).row;
  $("cost").textContent = row && row.nfe !== undefined ? `NFE ${row.nfe}, ${number(row.seconds, 3)} s per image` : "";
  $("t").setAttribute("aria-valuetext", `t = ${number(times[state.step], 2)}`);
  [...$("stops").children].forEach((button, i) => button.setAttribute("aria-pressed", String(isAt(stops[i]))));
}

const stepAt = (t) => times.reduce((best, each, i) => (Math.abs(each - t) < Math.abs(times[best] - t) ? i : best), 0);
const isAt = (stop) => stop.show === state.right && (stop.show[0] === "e" || stepAt(stop.t) === state.step);

function goTo(step) {
  if (!times.length) return;
  state.step = Math.min(Math.max(step, 0), times.length - 1);
  if (!trajectoryOf(state.right)) state.right = "t0";
  render();
}

function goToStop(stop) {
  if (stop.t !== undefined && times.length) state.step = stepAt(stop.t);
  state.right = stop.show;
  render();
}

function show(change) {
  Object.assign(state, change);
  render();
}

// Charts

function layout(changes) {
  const [ink, line] = [style("--muted"), style("--line")];
  const axis = { gridcolor: line, zeroline: false, linecolor: line, automargin: true };
  return {
    margin: { l: 10, r: 10, t: 34, b: 10 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 11, color: ink }, showlegend: false, hovermode: "closest", dragmode: false,
    ...changes, xaxis: { ...axis, ...changes.xaxis }, yaxis: { ...axis, ...changes.yaxis },
  };
}

const column = (points, name) => points.map((point) => (point.row[name] === undefined ? null : point.row[name]));

/** Return the range of the first curve and the best values of the others. Their worst values would flatten it. */
function rangeOf(metric) {
  const values = trajectories.map((curve) => column(curve.points, metric.name).filter((value) => value !== null));
  const best = values.slice(1).filter((each) => each.length).map((each) => (metric.higher ? Math.max(...each) : Math.min(...each)));
  const all = [...values[0], ...best];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const air = 0.08 * (high - low) || 0.05 * Math.abs(high) || 0.01;
  return [low - air, high + air];
}

function drawChart(metric) {
  const lines = trajectories.map((curve, i) => ({
    x: column(curve.points, "t"), y: column(curve.points, metric.name), name: plain(curve.name), mode: "lines+markers",
    marker: { size: 3 }, line: { color: COLOURS[i % COLOURS.length], dash: i ? "dot" : "solid" },
    hovertemplate: `t = %{x:.2f}<br>%{y:.${metric.digits}f}<extra>${plain(curve.name)}</extra>`,
  }));
  const line = (t, changes) => ({ type: "line", x0: t, x1: t, yref: "paper", y0: 0, y1: 1, line: { width: 1, color: style("--muted"), ...changes } });
  const marks = stops.filter((stop) => stop.title && stop.t !== undefined);
  const div = $(`chart-${metric.name}`);
  Plotly.react(div, lines, layout({
    title: { text: `<b>${plain(metric.title)}</b>${metric.unit ? ` [${metric.unit}]` : ""} ${metric.note}`, font: { size: 12, color: style("--ink") }, x: 0.02, y: 0.96 },
    shapes: [...marks.map((stop) => line(stop.t, { dash: "dot" })), line(times[state.step], { color: style("--ink") })],
    xaxis: { range: [1.02, -0.02] }, yaxis: { range: rangeOf(metric) },
  }), options);
}

function drawPlane() {
  const [across, up] = [metrics[$("across").value], metrics[$("up").value]];
  const has = (point) => point.row && [across, up].every((metric) => typeof point.row[metric.name] === "number");
  const label = (metric) => `${plain(metric.title)}${metric.unit ? ` [${metric.unit}]` : ""} ${metric.note}`;
  const trace = (name, points, keys, changes) => ({
    name: plain(name), x: column(points, across.name), y: column(points, up.name), customdata: keys, mode: "markers",
    hovertemplate: `%{x:.${across.digits}f}, %{y:.${up.digits}f}<extra>${plain(name)}</extra>`, ...changes,
  });
  const traces = trajectories.flatMap((curve, i) => {
    const points = curve.points.filter(has);
    const line = { color: COLOURS[i % COLOURS.length], dash: i ? "dot" : "solid" };
    return points.length ? [trace(curve.name, points, points.map((point) => [`t${i}`, point.row.t]), { mode: "lines+markers", marker: { size: 4 }, line })] : [];
  });
  entries.forEach((entry, i) => {
    if (i < 2 || !has(entry)) return;
    const symbol = entry.name.startsWith("dirac") ? "diamond" : ["circle", "square", "x"][Math.floor(i / COLOURS.length) % 3];
    traces.push(trace(entry.name, [entry], [[`e${i}`]], { marker: { size: 11, symbol, color: COLOURS[(trajectories.length + i) % COLOURS.length] } }));
  });
  for (const stop of stops.filter((each) => each.title && each.show[0] === "t")) {
    const point = trajectoryOf(stop.show).points.find((each) => Math.abs(each.row.t - stop.t) < 1e-6 && has(each));
    if (point) traces.push(trace(stop.name, [point], [[stop.show, stop.t]], { marker: { size: 11, symbol: "diamond-open", line: { width: 2 } } }));
  }
  if (trajectoryOf(state.right) && has(entryOf(state.right))) {
    traces.push(trace("shown", [entryOf(state.right)], [null], { marker: { size: 15, symbol: "circle-open", color: style("--ink"), line: { width: 2 } }, showlegend: false, hoverinfo: "skip", hovertemplate: null }));
  }
  const narrow = $("plane").clientWidth < 500;
  Plotly.react("plane", traces, layout({
    height: narrow ? 340 + 20 * traces.length : 420 + 6 * traces.length, showlegend: true, legend: { orientation: "h", y: -0.18 }, margin: { l: 10, r: 10, t: 10, b: 10 },
    xaxis: { title: { text: label(across) } }, yaxis: { title: { text: label(up) } },
  }), options);
}

function showCharts() {
  charted.forEach(drawChart);
  if (!$("plane-card").hidden) drawPlane();
}

// Build

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function showTheme() {
  $("theme").textContent = isDark() ? "Light" : "Dark";
  $("theme").setAttribute("aria-pressed", String(isDark()));
  showCharts();
}

function toggleTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
}

function fill(select, pairs, change) {
  select.append(...pairs.map(([value, text]) => make("option", { value }, text)));
  select.addEventListener("change", () => change(select.value));
}

function sortBy(head) {
  const [table, place] = [head.closest("table"), [...head.parentNode.children].indexOf(head)];
  const order = head.getAttribute("aria-sort");
  const down = order ? order === "ascending" : head.dataset.down === "yes";
  const value = (row) => (row.cells[place].dataset.value === "" ? (down ? -Infinity : Infinity) : Number(row.cells[place].dataset.value));
  table.querySelectorAll("th[aria-sort]").forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].sort((a, b) => (down ? value(b) - value(a) : value(a) - value(b)));
  table.tBodies[0].append(...rows);
}

function build() {
  document.body.classList.toggle("pixelated", data.pixelated);
  const chosen = [
    ...entries.flatMap((entry, i) => (entry.pictures ? [[`e${i}`, entry.name]] : [])),
    ...trajectories.flatMap((each, i) => (each.points.some((point) => point.pictures) ? [[`t${i}`, `${each.name} at t`]] : [])),
  ];
  fill($("left"), chosen, (left) => show({ left }));
  fill($("right"), chosen, (right) => show({ right }));
  images.forEach((name, i) => $("picker").append(
    make("button", { type: "button", title: name, click: () => show({ image: i }) }, make("img", { src: entries[0].pictures[i], alt: name }))));
  $("picker").hidden = images.length < 2;
  $("cut").addEventListener("input", () => $("frame").style.setProperty("--cut", `${$("cut").value}%`));
  $("error").addEventListener("change", () => {
    $("frame").classList.toggle("error", $("error").checked);
    $("reference").hidden = !$("error").checked;
  });
  $("time").hidden = times.length < 2;
  Object.assign($("t"), { max: times.length - 1, oninput: () => goTo(Number($("t").value)) });
  stops.forEach((stop) => $("stops").append(make("button", { type: "button", title: stop.title, click: () => goToStop(stop) }, stop.name)));
  $("theme").addEventListener("click", toggleTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  document.querySelectorAll("thead button").forEach((button) => button.addEventListener("click", () => sortBy(button.parentNode)));

  const first = stops.find((stop) => stop.title) || stops.find((stop) => stop.name.startsWith("dirac")) || stops[0];
  if (first) Object.assign(state, { right: first.show, step: times.length && first.t !== undefined ? stepAt(first.t) : 0 });
  const axes = metrics.map((metric, i) => [i, metric.title]);
  fill($("across"), axes, drawPlane);
  fill($("up"), axes, drawPlane);
  $("across").value = metrics.indexOf(judged[0]);
  $("up").value = metrics.indexOf(judged.find((metric) => metric.title === "LPIPS") || judged[judged.length - 1]);
  $("plane-card").hidden = judged.length < 2;
  if (trajectories.length) {
    $("legend").textContent = `${trajectories.map((curve, i) => `${curve.name} ${i ? "dotted" : "solid"}`).join(", ")}; means over all images against t. Vertical lines: stopping times.`;
    $("charts").append(...charted.map((metric) => make("div", { class: "card" }, make("div", { class: "chart", id: `chart-${metric.name}`, role: "img", "aria-label": `${metric.title} against t` }))));
  }
  showTheme();
  charted.forEach((metric) => $(`chart-${metric.name}`).on("plotly_click", (event) => goTo(stepAt(event.points[0].x))));
  if (!$("plane-card").hidden) {
    $("plane").on("plotly_click", (event) => {
      const [key, t] = event.points[0].customdata || [];
      if (key && entryOf(key).pictures) goToStop({ show: key, t });
    });
  }
}

function render() {
  showPictures();
  showTime();
  showCharts();
}

build();
render();
