// The page of a comparison: a table to sort, a plane of two metrics, and pictures of all methods side by side.

const judged = data.metrics.filter((metric) => metric.higher !== null);
const walked = data.curves.map((curve) => curve.name).filter((name) => data.images.some((each) => stepsOf(each, name).length));
const methods = Object.keys((data.images[0] || { pictures: {} }).pictures);
const shownNames = [...methods, ...walked];
const restored = methods.filter((name) => name !== "clean" && name !== "measurement");
const isOurs = (method) => method.startsWith("dirac");
const state = {
  image: 0, left: "measurement", right: restored.find(isOurs) || restored[0] || "clean", sort: null, down: false,
  walk: walked[0], step: 0, across: judged[0], up: judged.find((metric) => metric.title === "LPIPS") || judged[judged.length - 1],
};

/** The places on a walk that have pictures of an image. */
function stepsOf(each, name) {
  return (each.walks[name] || []).flatMap((point, i) => (point.picture ? [i] : []));
}

const curveOf = (name) => data.curves.find((curve) => curve.name === name);
const withoutStop = (name) => name.replace(" over t_stop", "");
const timeOf = (stop) => Number(stop.split("t=")[1]);

// The table

function columnsOfTable() {
  const others = data.metrics.filter((metric) => metric.higher === null);
  return [...judged, ...others, ...data.columns];
}

function sorted() {
  if (!state.sort) return data.rows;
  const value = (row) => row[state.sort.name] ?? (state.down ? -Infinity : Infinity);
  return [...data.rows].sort((a, b) => (state.down ? value(b) - value(a) : value(a) - value(b)));
}

function sortBy(column) {
  if (state.sort === column) state.down = !state.down;
  else Object.assign(state, { sort: column, down: column.higher === true });
  showTable();
}

function settingOf(row) {
  const parts = Object.entries(row.setting || {}).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`);
  return [...parts, row.stop].filter(Boolean).join(", ");
}

function showTable() {
  const columns = columnsOfTable();
  const head = (column) => {
    const order = state.sort === column ? (state.down ? "descending" : "ascending") : null;
    const said = column.higher === undefined ? null : make("small", {}, direction(column));
    return make("th", { scope: "col", "aria-sort": order },
      make("button", { type: "button", click: () => sortBy(column) }, column.title + (column.unit ? ` [${column.unit}]` : ""), said));
  };
  const best = new Map(judged.map((metric) => [metric.name, bestOf(data.rows, metric)]));
  const line = (row) => {
    const cells = columns.map((column) => {
      const between = intervalOf(row, column);
      const value = row[column.name];
      const isBest = value !== null && value !== undefined && value === best.get(column.name);
      return make("td", { class: isBest ? "best" : null }, number(value, column.digits), between);
    });
    const name = make("th", { scope: "row" }, row.method, make("small", {}, settingOf(row)));
    return make("tr", { "data-method": row.method, class: row.method === state.right ? "now" : null }, name, ...cells);
  };
  byId("table").replaceChildren(
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "method"), ...columns.map(head))),
    make("tbody", {}, ...sorted().map(line)));
}

function showPaired() {
  byId("paired-part").hidden = !data.paired.length;
  const heads = judged.filter((metric) => data.paired.some((row) => metric.name in row));
  const body = data.paired.map((row) => make("tr", {}, make("th", { scope: "row" }, `${row.method} − ${row.minus}`), ...heads.map((metric) => {
    const low = row[`${metric.name}_low`];
    const ends = low === null ? null : [low, row[`${metric.name}_high`]];
    const sign = row[metric.name] > 0 ? "+" : "";
    return make("td", {}, sign + number(row[metric.name], metric.digits), intervalOf({ interval: { [metric.name]: ends } }, metric));
  })));
  const titles = heads.map((metric) => make("th", { scope: "col" }, metric.title + (metric.unit ? ` [${metric.unit}]` : ""), make("small", {}, direction(metric))));
  byId("paired").replaceChildren(make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "difference"), ...titles)), make("tbody", {}, ...body));
}

// The plane

const AREA = { left: 58, right: 630, top: 22, bottom: 400 };  // its right side follows the width of the page

/** Where a name fits beside its point: the place that covers the fewest other names and points. */
function placeNames(points) {
  const taken = points.map(({ x, y }) => [x - 5, y - 5, x + 5, y + 5]);
  const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  return points.map(({ x, y, name, size }) => {
    const width = name.length * size * 0.56;
    const tried = [];
    for (const [anchor, dx] of [["start", 9], ["end", -9], ["middle", 0]]) {
      for (const dy of [4, -8, 16, -19, 27]) {
        const left = x + dx - (anchor === "end" ? width : anchor === "middle" ? width / 2 : 0);
        const box = [left, y + dy - size, left + width, y + dy + 2];
        const outside = box[0] < AREA.left || box[2] > AREA.right || box[1] < AREA.top || box[3] > AREA.bottom;
        const cost = 50 * outside + 10 * taken.filter((other) => overlap(box, other)).length + Math.abs(dy - 4) / 20;
        tried.push({ cost, box, anchor, dx, dy });
      }
    }
    const best = tried.reduce((a, b) => (b.cost < a.cost ? b : a));
    taken.push(best.box);
    return best;
  });
}

function showPlane() {
  const { across, up } = state;
  const width = Math.max(byId("plane").clientWidth, 300);
  AREA.right = width - 10;
  const at = (row) => [row[across.name] ?? null, row[up.name] ?? null];
  const known = (row) => at(row).every((value) => value !== null);
  const entries = [
    ...data.rows.filter((row) => !row.method.startsWith("measurement") && known(row)).map((row) => ({ row, name: row.method, method: row.method, kind: isOurs(row.method) ? "ours" : "other" })),
    ...data.dials.filter(known).map((row) => ({ row, name: `${row.dial} ${row.value}`, method: row.method, kind: "turned" })),
  ];
  const lines = data.curves.filter((curve) => curve.points.length && curve.points.every(known));
  const all = [...entries.map((entry) => at(entry.row)), ...lines.flatMap((curve) => curve.points.map(at))];
  const [xs, ys] = [0, 1].map((i) => spread(all.map((place) => place[i])));
  const x = scale(xs, [AREA.left, AREA.right]);
  const y = scale(ys, [AREA.bottom, AREA.top]);
  const dialNames = [...new Set(data.dials.map((row) => row.dial))];
  const turned = dialNames.map((dial) => data.dials.filter((row) => row.dial === dial && known(row)).map((row) => [x(at(row)[0]), y(at(row)[1])]));
  const points = entries.map((entry) => ({ x: x(at(entry.row)[0]), y: y(at(entry.row)[1]), name: entry.name, size: entry.kind === "turned" ? 9 : 11 }));
  const names = placeNames(points);
  const drawn = entries.map((entry, i) => {
    const words = `${entry.name}: ${across.title} ${withUnit(across, at(entry.row)[0])}, ${up.title} ${withUnit(up, at(entry.row)[1])}`;
    const group = svg("g", { class: `point ${entry.kind}${entry.method === state.right ? " now" : ""}`, "data-method": entry.method },
      svg("title", {}, words),
      svg("circle", { cx: points[i].x, cy: points[i].y, r: entry.kind === "turned" ? 3.5 : 5.5 }),
      svg("text", { x: points[i].x + names[i].dx, y: points[i].y + names[i].dy, "text-anchor": names[i].anchor }, entry.name));
    group.addEventListener("click", () => chooseRight(entry.method));
    return group;
  });
  const curves = lines.map((curve, i) => svg("g", {},
    svg("path", { class: `line mean${i ? " second" : ""}`, d: path(curve.points.map((row) => [x(at(row)[0]), y(at(row)[1])])) }),
    ...curve.points.map((row, step) => {
      const now = state.right === curve.name && state.step === step;
      const dot = svg("circle", { class: `dot mean${now ? " now" : ""}`, r: now ? 5.5 : 3, cx: x(at(row)[0]), cy: y(at(row)[1]) },
        svg("title", {}, `x̂ ${row.stop.replace("mean ", "")}: ${across.title} ${withUnit(across, at(row)[0])}, ${up.title} ${withUnit(up, at(row)[1])}`));
      dot.addEventListener("click", () => stopAt(curve.name, step));
      return dot;
    })));
  const label = `${up.title} against ${across.title}: ${entries.map((entry) => entry.name).join(", ")}`;
  byId("plane").replaceChildren(svg("svg", { viewBox: `0 0 ${width} 446`, role: "img", "aria-label": label },
    ...rows(AREA, y, ticks(ys[0], ys[1], 6)),
    ...columns(AREA, x, ticks(xs[0], xs[1], width / 90)),
    svg("text", { class: "axis", x: AREA.right, y: 440, "text-anchor": "end" }, `${across.title}${across.unit ? ` [${across.unit}]` : ""} ${direction(across)}`),
    svg("text", { class: "axis", x: 0, y: 8 }, `${up.title}${up.unit ? ` [${up.unit}]` : ""} ${direction(up)}`),
    ...curves, ...turned.map((places) => svg("path", { class: "line turned", d: path(places) })), ...drawn));
  const said = lines.map((curve, i) => `${i ? "broken line" : "line"}: ${curve.name}`);
  const without = data.curves.length && !lines.length ? ["Dirac's curve has metrics of single images only"] : [];
  const outside = data.rows.some((row) => row.method.startsWith("measurement")) ? ["the measurement lies outside"] : [];
  byId("plane-note").textContent = [...said, ...without, ...outside].join("; ") + ".";
}

// Pictures

const image = () => data.images[state.image];

/** What there is of a method, or of a walk at its time. */
function shownOf(name) {
  const walk = walked.includes(name) && image().walks[name];
  if (!walk) return { uri: image().pictures[name], values: image().values[name] || {}, words: name };
  const step = name === state.walk ? state.step : stepsOf(image(), name)[0];
  return { uri: walk[step].picture, values: walk[step].values, words: `x̂ at t = ${number(timeOf(curveOf(name).points[step].stop), 2)}` };
}

function ownValues(name) {
  const { values } = shownOf(name);
  return judged.filter((metric) => values[metric.name] !== undefined && values[metric.name] !== null)
    .map((metric) => `${metric.title} ${withUnit(metric, values[metric.name])}`);
}

function showPictures() {
  for (const [id, side] of [["before", "left"], ["after", "right"]]) {
    const { uri, words } = shownOf(state[side]);
    byId(id).src = uri;
    byId(id).alt = `${words} of ${image().name}`;
    byId(`${id}-name`).textContent = words;
    byId(side).value = state[side];
  }
  const own = ownValues(state.right);
  byId("own").textContent = own.length ? `This image, ${image().name}: ${own.join(", ")}` : `This image: ${image().name}`;
  byId("every").replaceChildren(...shownNames.map((name) => make(
    "button", { type: "button", "data-method": name, "aria-pressed": String(name === state.right), click: () => chooseRight(name) },
    make("img", { src: shownOf(name).uri, alt: `${shownOf(name).words} of ${image().name}` }),
    make("span", {}, shownOf(name).words), make("small", {}, walked.includes(name) ? `${withoutStop(name)}: ` : "", ownValues(name).slice(0, 3).join(", ")))));
  byId("picker").querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-pressed", String(i === state.image)));
}

// Dirac's time

/** Show a walk at the place that has a picture and is nearest to a place. */
function stopAt(name, step) {
  const steps = stepsOf(image(), name);
  if (!steps.length) return;
  state.walk = name;
  state.step = steps.reduce((best, each) => (Math.abs(each - step) < Math.abs(best - step) ? each : best));
  state.right = name;
  render();
}

function move(by) {
  const steps = stepsOf(image(), state.walk);
  const place = steps.indexOf(state.step) + by;
  if (state.right !== state.walk) stopAt(state.walk, state.step);
  else if (place >= 0 && place < steps.length) stopAt(state.walk, steps[place]);
}

function showTime() {
  byId("time").hidden = !walked.length;
  if (!walked.length) return;
  const { points, setting } = curveOf(state.walk);
  const steps = stepsOf(image(), state.walk);
  const t = number(timeOf(points[state.step].stop), 2);
  byId("walk-name").textContent = withoutStop(state.walk);
  byId("t-now").textContent = t;
  byId("t").max = steps.length - 1;
  byId("t").value = steps.indexOf(state.step);
  byId("t").setAttribute("aria-valuetext", `t = ${t}`);
  const on = data.rows.filter((row) => isOurs(row.method) && JSON.stringify(row.setting) === JSON.stringify(setting));
  byId("stops").replaceChildren(...on.flatMap((row) => {
    const step = points.findIndex((point) => point.stop === row.stop);
    if (!steps.includes(step)) return [];
    const pressed = String(state.right === state.walk && state.step === step);
    return [make("button", { type: "button", "aria-pressed": pressed, click: () => stopAt(state.walk, step) }, row.method)];
  }));
}

function chooseRight(name) {
  if (walked.includes(name)) {
    stopAt(name, name === state.walk ? state.step : 0);
  } else if (methods.includes(name)) {
    state.right = name;
    render();
  }
}

function chooseNext(by) {
  const place = shownNames.indexOf(state.right) + by;
  chooseRight(shownNames[(place + shownNames.length) % shownNames.length]);
}

function imageAt(place) {
  state.image = (place + data.images.length) % data.images.length;
  render();
}

function buildChoosers() {
  for (const side of ["left", "right"]) {
    byId(side).replaceChildren(...shownNames.map((name) => make("option", { value: name }, name)));
  }
  byId("left").addEventListener("change", () => { state.left = byId("left").value; render(); });
  byId("right").addEventListener("change", () => chooseRight(byId("right").value));
  for (const axis of ["across", "up"]) {
    byId(axis).replaceChildren(...judged.map((metric) => make("option", { value: metric.name }, metric.title)));
    byId(axis).value = state[axis].name;
    byId(axis).addEventListener("change", () => {
      state[axis] = judged.find((metric) => metric.name === byId(axis).value);
      showPlane();
    });
  }
  byId("picker").replaceChildren(...data.images.map((each, i) => make(
    "button", { type: "button", title: each.name, click: () => imageAt(i) }, make("img", { src: each.pictures.clean, alt: each.name }))));
  byId("picker").hidden = data.images.length < 2;
}

function render() {
  showTable();
  showPlane();
  showPictures();
  showTime();
}

showFrame();
document.body.classList.toggle("exact", data.pixelated);
byId("table-note").textContent =
  "Means over the images; below them 95 % bootstrap confidence intervals (BCa), – for too few images. Calls: of the network, per image. MiB: peak memory. A heading sorts, best first.";
buildChoosers();
if (walked.length) {
  [state.step] = stepsOf(data.images[0], state.walk);
  byId("t").addEventListener("input", () => stopAt(state.walk, stepsOf(image(), state.walk)[byId("t").value]));
}
showPaired();
wipe(byId("cut"), byId("wipe"));
addEventListener("resize", showPlane);
const actions = {
  ArrowRight: () => chooseNext(1), ArrowLeft: () => chooseNext(-1), ".": () => move(1), ",": () => move(-1),
  n: () => imageAt(state.image + 1), p: () => imageAt(state.image - 1),
  m: () => chooseRight("measurement"), c: () => chooseRight("clean"), w: () => byId("cut").focus(), d: toggleTheme,
};
restored.slice(0, 9).forEach((name, i) => { actions[String(i + 1)] = () => chooseRight(name); });
listen(actions);
showKeys([
  [["→", "←"], "next and previous picture at the right"],
  [["1", "…", String(Math.min(restored.length, 9))], "the methods, in their order"],
  ...(walked.length ? [[[".", ","], "on and back in Dirac's time"]] : []),
  [["m"], "the measurement"], [["c"], "the clean image"], [["n", "p"], "next and previous image"],
  [["w"], "the wipe, which then moves with ← →"], [["d"], "dark or light"],
]);
render();
