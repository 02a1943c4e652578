// The page of a walk: pictures at a time, while a cursor moves on the curves.

const times = data.times;
const curve = new Map(data.curve.map((row) => [`${row.output} ${row.t}`, row]));
const blends = data.curve.filter((row) => row.output.startsWith("blend=")).map((row) => row.output)
  .sort((a, b) => shareOf(a) - shareOf(b));
const outputNames = { mean: "x̂", iterate: "iterate" };
const nameOf = (output) => outputNames[output] || `blend ${shareOf(output)}`;
const has = (step, output) => curve.has(`${output} ${times[step]}`);

const first = data.stops.find((stop) => stop.name === "DO") || data.stops[data.stops.length - 1];
const state = { image: 0, step: stepAt(first.t), output: first.output, shown: "result", blend: 0 };

function shareOf(output) {
  return Number(output.split("=")[1]);
}

/** The place of a time among those with pictures: the last one that is not below it. */
function stepAt(t) {
  const found = times.filter((each) => each >= t - 1e-6).length - 1;
  return Math.max(found, 0);
}

/** What is the result now: x_hat or the iterate at the time, or a blend. A time may lack one of the two. */
function current() {
  if (state.output.startsWith("blend=")) {
    const row = data.curve.find((each) => each.output === state.output);
    return { output: state.output, index: 0, row };
  }
  const other = state.output === "mean" ? "iterate" : "mean";
  const output = has(state.step, state.output) ? state.output : other;
  return { output, index: state.step, row: curve.get(`${output} ${times[state.step]}`) };
}

const image = () => data.images[state.image];
const uriOf = (output, index) => (image().pictures[output] || [])[index] || null;

// Panes: what may be shown. Each has a key, a name, and finds its picture and what it is in words.

function where({ output, row }) {
  return `${nameOf(output)} at t = ${number(row.t, 2)}`;
}

function outputPane(key, output) {
  return {
    key, id: output, name: () => nameOf(output),
    uri: async () => uriOf(output, state.step),
    words: () => where({ output, row: { t: times[state.step] } }),
    pick: () => Object.assign(state, { output, shown: "result" }),
    pressed: () => state.shown === "result" && current().output === output,
  };
}

function mapPane(key, id, name, uri) {
  return {
    key, id, name: () => name, uri, map: true,
    words: () => `${name} of ${where(current())}`,
    pick: () => Object.assign(state, { shown: id }),
    pressed: () => state.shown === id,
  };
}

const panes = [
  {
    key: "m", id: "measurement", name: () => "measured", uri: async () => image().measurement,
    words: () => "measurement", pick: () => Object.assign(state, { shown: "measurement" }),
    pressed: () => state.shown === "measurement",
  },
  outputPane("x", "mean"),
  outputPane("i", "iterate"),
  blends.length ? {
    key: "b", id: "blend", name: () => nameOf(blends[state.blend]),
    uri: async () => uriOf(blends[state.blend], 0), words: () => nameOf(blends[state.blend]),
    pick: () => Object.assign(state, { output: blends[state.blend], shown: "result" }),
    pressed: () => state.shown === "result" && state.output.startsWith("blend="),
  } : null,
  mapPane("e", "error", "|error|", () => {
    const { output, index } = current();
    const uri = uriOf(output, index);
    return once(`error ${state.image} ${output} ${index}`, () => errorMap(uri, image().clean, data.errorTop));
  }),
  data.samples > 1 ? mapPane("u", "uncertainty", "uncertainty", async () => {
    const { output, index } = current();
    const uri = (image().uncertainty[output] || [])[index];
    return uri ? once(`spread ${state.image} ${output} ${index}`, () => heatMap(uri)) : null;
  }) : null,
  {
    key: "c", id: "clean", name: () => "clean", uri: async () => image().clean, words: () => "clean image",
    pick: () => Object.assign(state, { shown: "clean" }), pressed: () => state.shown === "clean",
  },
].filter(Boolean);

function buildPanes() {
  byId("panes").style.setProperty("--count", panes.length);
  byId("panes").replaceChildren(...panes.map((pane) => {
    const choose = () => { pane.pick(); render(); };
    pane.picture = make("img", { alt: "" });
    pane.caption = make("span", {});
    pane.button = make("button", { type: "button", "data-pane": pane.id, click: choose }, pane.picture, pane.caption);
    return pane.button;
  }));
  byId("bars").append(bar("|error|", data.errorTop));
  if (data.samples > 1) byId("bars").append(bar("uncertainty", data.uncertaintyTop));
}

let drawing = 0;

async function showPanes() {
  const now = ++drawing;
  const uris = await Promise.all(panes.map((pane) => pane.uri()));
  if (now !== drawing) return;
  panes.forEach((pane, i) => {
    pane.button.disabled = !uris[i];
    pane.button.setAttribute("aria-pressed", String(pane.pressed()));
    pane.caption.replaceChildren(pane.name(), " ", make("kbd", {}, pane.key));
    pane.picture.alt = uris[i] ? `${pane.words()} of ${image().name}` : "";
    if (uris[i]) pane.picture.src = uris[i];
    else pane.picture.removeAttribute("src");
  });
  const at = Math.max(panes.findIndex((pane) => pane.pressed()), 0);
  byId("after").src = uris[at] || uriOf(current().output, current().index);
  byId("after").alt = `${panes[at].words()} of ${image().name}`;
  byId("after-name").textContent = panes[at].words();
  byId("before").src = image().measurement;
  byId("before").alt = `measurement of ${image().name}`;
}

function showOwn() {
  const { output, index, row } = current();
  const values = (image().values[output] || [])[index] || {};
  const known = data.metrics.filter((metric) => values[metric.name] !== undefined && values[metric.name] !== null);
  const parts = known.map((metric) => `${metric.title} ${withUnit(metric, values[metric.name])}`);
  const held = data.intervals.filter((each) => Math.abs(each.t - row.t) < 1e-6 && each.output === output);
  const intervals = held.map((each) =>
    `${100 * each.level} % of the pixels lie within ± ${number(each.factor, 1)} deviations (calibrated on ${each.images} images)`);
  byId("own").textContent = [`This image, ${image().name}: ${parts.join(", ")}`, ...intervals].join(". ");
}

// Curves

const BOX = { left: 44, right: 350, top: 28, bottom: 150 };
const cards = [];

function valuesOf(output, metric) {
  return data.curve.filter((row) => row.output === output).map((row) => [row.t, row[metric.name] ?? null]);
}

/** The range of x_hat and of the best iterate: bad iterates would flatten the curve of x_hat. */
function limits(metric) {
  const of = (output) => valuesOf(output, metric).map(([, value]) => value).filter((value) => value !== null);
  const iterates = of("iterate");
  const best = metric.higher === null ? iterates.slice(-1)
    : iterates.length ? [metric.higher ? Math.max(...iterates) : Math.min(...iterates)] : [];
  return spread([...of("mean"), ...best, ...blends.flatMap(of)]);
}

function buildCurve(metric) {
  const all = data.curve.map((row) => row.t);
  const [start, end] = [Math.max(...all), Math.min(...all)];
  const x = scale([start, end === start ? start - 1 : end], [BOX.left, BOX.right]);
  const [low, high] = limits(metric);
  const y = scale([low, high], [BOX.bottom, BOX.top]);
  const clip = `clip-${metric.name}`;
  const line = (output) =>
    svg("path", { class: `line ${output}`, d: path(valuesOf(output, metric).map(([t, v]) => [x(t), v === null ? null : y(v)])) });
  const named = new Map();
  for (const stop of data.stops.filter((each) => each.title)) {
    named.set(stop.t, [...(named.get(stop.t) || []), stop.name]);
  }
  let [taken, raised] = [-Infinity, false];  // names that would cover each other stand on two lines
  const marks = [...named].sort((a, b) => b[0] - a[0]).flatMap(([t, names]) => {
    const [name, place] = [names.join(" "), x(t)];
    const width = 6.5 * name.length;
    const left = Math.min(Math.max(place - width / 2, BOX.left), BOX.right - width);
    raised = left < taken + 4 && !raised;
    taken = left + width;
    return [
      svg("line", { class: "stop", x1: place, x2: place, y1: BOX.top, y2: BOX.bottom }),
      svg("text", { class: "stop-name", x: left, y: BOX.top - (raised ? 16 : 5) }, name),
    ];
  });
  const dots = blends.map((output) => {
    const row = data.curve.find((each) => each.output === output);
    return svg("circle", { class: "dot blend", r: 3.5, cx: x(row.t), cy: y(row[metric.name] ?? low) });
  });
  const cursor = svg("line", { class: "cursor", y1: BOX.top, y2: BOX.bottom });
  const points = ["iterate", "mean"].map((output) => svg("circle", { class: `dot ${output}`, r: 4 }));
  const drawn = svg(
    "svg", { viewBox: "0 0 360 172", role: "img", "aria-label": `${metric.title} against time t, ${direction(metric)}` },
    svg("clipPath", { id: clip }, svg("rect", { x: BOX.left, y: BOX.top - 3, width: BOX.right - BOX.left + 4, height: BOX.bottom - BOX.top + 6 })),
    ...rows(BOX, y, ticks(low, high, 4)),
    ...columns(BOX, x, ticks(end, start, 4)),
    ...marks,
    svg("g", { "clip-path": `url(#${clip})` }, line("iterate"), line("mean"), ...dots, cursor, ...points),
  );
  const value = make("span", { class: "value" });
  const other = make("span", { class: "other" });
  const name = make("span", { class: "name" }, metric.title);
  const card = make("figure", { class: "curve", "data-metric": metric.name },
    make("figcaption", {}, name, value, make("span", {}, direction(metric)), other), drawn);
  const follow = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const place = (event.clientX - drawn.getBoundingClientRect().left) * (360 / drawn.clientWidth);
    const gaps = times.map((t) => Math.abs(x(t) - place));
    goTo(gaps.indexOf(Math.min(...gaps)));
  };
  drawn.addEventListener("pointerdown", follow);
  drawn.addEventListener("pointermove", follow);
  cards.push({ metric, x, y, cursor, points, dots, value, other });
  return card;
}

function showCurves() {
  const now = current();
  for (const { metric, x, y, cursor, points, dots, value, other } of cards) {
    cursor.setAttribute("x1", x(now.row.t));
    cursor.setAttribute("x2", x(now.row.t));
    ["iterate", "mean"].forEach((output, i) => {
      const row = curve.get(`${output} ${now.row.t}`);
      const known = row && row[metric.name] !== null && row[metric.name] !== undefined;
      points[i].setAttribute("visibility", known ? "visible" : "hidden");
      if (!known) return;
      points[i].setAttribute("cx", x(now.row.t));
      points[i].setAttribute("cy", y(row[metric.name]));
    });
    dots.forEach((dot, i) => dot.classList.toggle("now", blends[i] === now.output));
    value.textContent = withUnit(metric, now.row[metric.name]);
    value.classList.toggle("of-iterate", now.output === "iterate");
    const beside = curve.get(`${now.output === "iterate" ? "mean" : "iterate"} ${now.row.t}`);
    other.textContent = beside ? `${nameOf(beside.output)} ${number(beside[metric.name], metric.digits)}` : "";
  }
}

// Time, stops and table

function goTo(step) {
  state.step = Math.min(Math.max(step, 0), times.length - 1);
  if (state.output.startsWith("blend=")) state.output = "mean";
  render();
}

function stopAt(stop) {
  Object.assign(state, { step: stepAt(stop.t), output: stop.output, shown: "result" });
  render();
}

function blendAt(place) {
  Object.assign(state, { blend: place, output: blends[place], shown: "result" });
  render();
}

function imageAt(place) {
  state.image = (place + data.images.length) % data.images.length;
  render();
}

const isAt = (stop) => stop.output === state.output && stepAt(stop.t) === state.step;

function showTime() {
  const now = current();
  const slider = byId("t");
  slider.value = state.step;
  byId("t-now").textContent = number(now.row.t, 2);
  const calls = `${now.row.nfe} network call${now.row.nfe === 1 ? "" : "s"}`;
  byId("cost").textContent = `${calls}, ${number(now.row.seconds, 3)} s per image`;
  const metric = data.metrics[0];
  slider.setAttribute("aria-valuetext", `t = ${number(now.row.t, 2)}, ${metric.title} ${withUnit(metric, now.row[metric.name])}`);
  byId("stops").querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-pressed", String(isAt(data.stops[i]))));
  byId("picker").querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-pressed", String(i === state.image)));
  byId("table").querySelectorAll("tbody tr").forEach((row, i) => {
    const entry = data.table[i];
    row.classList.toggle("now", entry.t !== undefined && entry.t === now.row.t && entry.output === now.output);
  });
  if (blends.length) {
    byId("share").value = state.blend;
    byId("share-now").textContent = shareOf(blends[state.blend]);
  }
}

function buildTime() {
  Object.assign(byId("t"), { max: times.length - 1, oninput: () => goTo(Number(byId("t").value)) });
  const last = Math.max(times.length - 1, 1);
  for (const stop of data.stops.filter((each) => each.title)) {
    const mark = make("i");
    mark.style.setProperty("--at", stepAt(stop.t) / last);
    byId("marks").append(mark);
  }
  byId("stops").replaceChildren(...data.stops.map((stop, i) => make(
    "button", { type: "button", title: stop.title || null, "data-stop": stop.name, click: () => stopAt(stop) },
    make("span", {}, ...stopName(stop)), make("kbd", {}, String(i + 1)),
  )));
  byId("picker").replaceChildren(...data.images.map((each, i) => make(
    "button", { type: "button", title: each.name, click: () => imageAt(i) }, make("img", { src: each.clean, alt: each.name }),
  )));
  byId("picker").hidden = data.images.length < 2;
  if (!blends.length) return;
  byId("dial").hidden = false;
  Object.assign(byId("share"), { max: blends.length - 1, oninput: () => blendAt(Number(byId("share").value)) });
}

function buildTable() {
  const shown = data.metrics;
  const heads = ["stop at", "t", "output", "calls", "s / image"].map((text) => make("th", { scope: "col" }, text));
  const measured = shown.map((metric) => make(
    "th", { scope: "col" }, metric.title + (metric.unit ? ` [${metric.unit}]` : ""), make("small", {}, direction(metric))));
  const best = new Map(shown.filter((metric) => metric.higher !== null).map((metric) => [metric.name, bestOf(data.table, metric)]));
  const body = data.table.map((entry) => {
    const cells = [number(entry.t, 2), entry.output ? nameOf(entry.output) : "–", number(entry.nfe, 0), number(entry.seconds, 3)];
    const values = shown.map((metric) => {
      const between = intervalOf(entry, metric);
      const value = entry[metric.name];
      const isBest = value !== undefined && value !== null && value === best.get(metric.name);
      return make("td", { class: isBest ? "best" : null }, number(value, metric.digits), between);
    });
    return make("tr", {}, make("th", { scope: "row" }, entry.title), ...cells.map((text) => make("td", {}, text)), ...values);
  });
  byId("table").replaceChildren(make("thead", {}, make("tr", {}, ...heads, ...measured)), make("tbody", {}, ...body));
  byId("table-note").textContent =
    "Means over the images; below them 95 % bootstrap confidence intervals (BCa), – for too few images. Calls: network calls per image.";
}

function buildLegend() {
  const sample = (output) => svg("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" }, svg("path", { class: `line ${output}`, d: "M0 4H26" }));
  byId("legend").replaceChildren(
    make("span", {}, sample("mean"), "x̂, the denoised image"),
    make("span", {}, sample("iterate"), "the iterate"),
    make("span", {}, "against time t, means over all images"),
  );
}

function render() {
  showTime();
  showCurves();
  showOwn();
  return showPanes();
}

showFrame();
document.body.classList.toggle("exact", data.pixelated);
buildTime();
buildPanes();
buildTable();
buildLegend();
byId("curves").replaceChildren(...data.metrics.map(buildCurve));
wipe(byId("cut"), byId("wipe"));
const actions = {
  ArrowRight: () => goTo(state.step + 1), ArrowLeft: () => goTo(state.step - 1),
  Home: () => goTo(0), End: () => goTo(times.length - 1),
  n: () => imageAt(state.image + 1), p: () => imageAt(state.image - 1),
  w: () => byId("cut").focus(), d: toggleTheme,
};
data.stops.slice(0, 9).forEach((stop, i) => { actions[String(i + 1)] = () => stopAt(stop); });
panes.forEach((pane) => { actions[pane.key] = () => { if (!pane.button.disabled) { pane.pick(); render(); } }; });
listen(actions);
showKeys([
  [["→", "←"], "on and back in time"], [["Home", "End"], "begin and end of the walk"],
  [["1", "…", String(Math.min(data.stops.length, 9))], "the stops, in their order"],
  [["n", "p"], "next and previous image"], [["w"], "the wipe, which then moves with ← →"],
  ...panes.map((pane) => [[pane.key], pane.id === "blend" ? "a blend of two stops" : pane.name()]), [["d"], "dark or light"],
]);
render();
