"use strict";
// Draws the boards of deploy/grafana with the answers of Prometheus. Grafana is the real thing;
// this page knows the five kinds of panels that the boards use, and all variables as "All".

const COLORS = ["#3274d9", "#56a64b", "#e0752d", "#a352cc", "#c4162a", "#0f9ba8", "#b58900",
  "#e45f9f", "#6d5dd3", "#7a8793", "#2f9e6e", "#c77c48"];
const NAMED = { green: "#56a64b", yellow: "#e0b400", red: "#c4162a", purple: "#a352cc", orange: "#e0752d" };
const POINTS = 180;
const REFRESH_MS = 10_000;
const MIN_WINDOW_SECONDS = 15;

const state = { places: null, board: null, plots: [] };
const make = (tag, text = "", attributes = {}) => {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

const scaled = (value, base, units) => {
  let at = 0;
  while (Math.abs(value) >= base && at < units.length - 1) { value /= base; at += 1; }
  return `${+value.toPrecision(3)}${units[at]}`;
};

const UNITS = {
  short: (v) => scaled(v, 1000, ["", " k", " M", " G"]),
  reqps: (v) => `${scaled(v, 1000, ["", " k"])}/s`,
  ops: (v) => `${scaled(v, 1000, ["", " k"])}/s`,
  bytes: (v) => scaled(v, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]),
  Bps: (v) => `${scaled(v, 1024, [" B", " KiB", " MiB", " GiB"])}/s`,
  percentunit: (v) => `${+(v * 100).toPrecision(3)} %`,
  s: (v) => {
    const size = Math.abs(v);
    if (size >= 86400) return `${+(v / 86400).toPrecision(3)} d`;
    if (size >= 3600) return `${+(v / 3600).toPrecision(3)} h`;
    if (size >= 60) return `${+(v / 60).toPrecision(3)} min`;
    if (size >= 1 || v === 0) return `${+v.toPrecision(3)} s`;
    return `${+(v * 1000).toPrecision(3)} ms`;
  },
};
const unitOf = (panel) => UNITS[panel.fieldConfig.defaults.unit] || UNITS.short;

const interpolated = (expr, range) => {
  const window = `${Math.max(MIN_WINDOW_SECONDS * 4, Math.ceil(range / POINTS) * 4)}s`;
  return expr.replaceAll("$__rate_interval", window).replaceAll("$__range", `${range}s`)
    .replace(/\$[a-z]+/g, ".*");
};

const named = (legend, labels) => {
  if (legend && legend !== "__auto") return legend.replace(/{{(\w+)}}/g, (_, name) => labels[name] ?? "").trim();
  return Object.entries(labels).map(([name, value]) => `${name}=${value}`).join(" ") || "value";
};

// The address of a link to the console; the links of values have labels in them that this page leaves out.
const consoleUrl = (url) => url.replace("${console:raw}", state.places.console);

const ask = async (path, fields) => {
  const answer = await fetch(`${state.places.prometheus}/api/v1/${path}?${new URLSearchParams(fields)}`);
  const body = await answer.json();
  if (body.status !== "success") throw new Error(body.error);
  return body.data.result;
};

const series = async (panel, range) => {
  const end = Math.floor(Date.now() / 1000);
  const step = Math.max(1, Math.ceil(range / POINTS));
  const found = await Promise.all(panel.targets.map(async (target) => {
    const result = await ask("query_range", { query: interpolated(target.expr, range), start: end - range, end, step });
    return result.map((each) => ({ name: named(target.legendFormat, each.metric), values: new Map(each.values.map(([at, v]) => [at, +v])) }));
  }));
  const times = [];
  for (let at = end - range; at <= end; at += step) times.push(at);
  return { times, lines: found.flat().sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true })) };
};

const at = (line, time) => { const v = line.values.get(time); return v === undefined || Number.isNaN(v) ? null : v; };

const drawers = {
  async stat(panel, box, range) {
    const [result] = await ask("query", { query: interpolated(panel.targets[0].expr, range) });
    if (!result) return false;
    const value = +result.value[1];
    const figure = make("div", unitOf(panel)(value), { class: "figure" });
    for (const step of panel.fieldConfig.defaults.thresholds.steps)
      if (step.value !== null && value >= step.value) figure.className = `figure ${step.color === "red" ? "alarm" : "warn"}`;
    box.append(figure);
    return true;
  },

  async table(panel, box, range) {
    const results = await ask("query", { query: interpolated(panel.targets[0].expr, range) });
    if (!results.length) return false;
    const names = [...new Set(results.flatMap((each) => Object.keys(each.metric)))];
    const table = make("table"), head = table.createTHead().insertRow();
    for (const name of names) head.append(make("th", name));
    const link = panel.fieldConfig.defaults.links?.[0]?.url;
    for (const each of results) {
      const row = table.insertRow();
      for (const name of names) {
        const cell = row.insertCell(), text = each.metric[name] ?? "";
        if (link && name === "alertname") cell.append(make("a", text, { href: `docs/runbooks/${text}.md` }));
        else cell.textContent = text;
      }
    }
    const scroll = make("div", "", { class: "scroll" });
    scroll.append(table);
    box.append(scroll);
    return true;
  },

  async timeseries(panel, box, range) {
    const { times, lines } = await series(panel, range);
    if (!lines.length) return false;
    const stacked = panel.fieldConfig.defaults.custom.stacking.mode === "normal";
    const columns = lines.map((line) => times.map((time) => at(line, time)));
    if (stacked) for (let i = 1; i < columns.length; i += 1) columns[i] = columns[i].map((v, j) => (v === null ? columns[i - 1][j] : v + (columns[i - 1][j] ?? 0)));
    const order = columns.map((_, i) => i);
    if (stacked) order.reverse();
    const color = (i) => COLORS[i % COLORS.length];
    const unit = unitOf(panel), width = box.clientWidth - 22;
    const faint = getComputedStyle(document.body).getPropertyValue("color");
    const axis = { stroke: faint, grid: { stroke: "#88888833", width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const plot = new uPlot({
      width, height: 150, legend: { show: false }, cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, min, max) => [Math.min(0, min), max > 0 ? max * 1.1 : 1] } },
      axes: [{ ...axis }, { ...axis, size: 62, values: (_, ticks) => ticks.map(unit) }],
      series: [{}, ...order.map((i) => ({ stroke: color(i), width: 1.5, fill: stacked ? `${color(i)}66` : undefined, spanGaps: false, points: { show: false } }))],
    }, [times, ...order.map((i) => columns[i])], box);
    state.plots.push(plot);
    const legend = make("ul", "", { class: "legend" });
    lines.forEach((line, i) => {
      const item = make("li"), mark = make("i");
      mark.style.background = color(i);
      const last = [...line.values.values()].filter((v) => !Number.isNaN(v)).at(-1);
      item.append(mark, make("span", line.name), make("b", last === undefined ? "" : unit(last)));
      legend.append(item);
    });
    box.append(legend);
    return true;
  },

  async "state-timeline"(panel, box, range) {
    const { times, lines } = await series(panel, range);
    if (!lines.length) return false;
    const options = panel.fieldConfig.defaults.mappings[0].options, lanes = make("div", "", { class: "lanes" });
    for (const line of lines) {
      const lane = make("div", "", { class: "lane" });
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", `0 0 ${times.length} 10`);
      svg.setAttribute("preserveAspectRatio", "none");
      let text = "";
      times.forEach((time, i) => {
        const value = at(line, time);
        if (value === null) return;
        const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        for (const [name, v] of [["x", i], ["y", 0], ["width", 1.05], ["height", 10], ["fill", NAMED[options[value]?.color] ?? "#888"]]) rect.setAttribute(name, v);
        svg.append(rect);
        text = options[value]?.text ?? value;
      });
      lane.append(make("span", line.name, { title: line.name }), svg, make("b", text));
      lanes.append(lane);
    }
    box.append(lanes);
    return true;
  },

  async heatmap(panel, box, range) {
    const { times, lines } = await series(panel, range);
    if (!lines.length) return false;
    const bound = (line) => (line.name === "+Inf" ? Infinity : +line.name);
    lines.sort((a, b) => bound(a) - bound(b));
    const canvas = make("canvas", "", { class: "heat", width: times.length, height: lines.length });
    const context = canvas.getContext("2d");
    const cells = lines.map((line, i) => times.map((time) => Math.max(0, (at(line, time) ?? 0) - (i ? at(lines[i - 1], time) ?? 0 : 0))));
    const most = Math.max(1e-9, ...cells.flat());
    cells.forEach((row, y) => row.forEach((value, x) => {
      if (value <= 0) return;
      context.fillStyle = `rgba(224, 117, 45, ${0.15 + 0.85 * Math.sqrt(value / most)})`;
      context.fillRect(x, lines.length - 1 - y, 1, 1);
    }));
    box.append(canvas, make("small", `${UNITS.s(bound(lines[0]))} (bottom) to ${UNITS.s(bound(lines.at(-2)))}`));
    return true;
  },
};

const draw = async () => {
  const range = +document.querySelector("#range").value, main = document.querySelector("#panels");
  const board = await (await fetch(`boards/${state.board}.json`)).json();
  for (const plot of state.plots.splice(0)) plot.destroy();
  const fresh = document.createDocumentFragment(), jobs = [];
  for (const panel of board.panels) {
    if (panel.type === "row") { fresh.append(make("h2", panel.title)); continue; }
    const box = make("article", "", { title: panel.description });
    box.style.gridColumn = `span ${panel.gridPos.w}`;
    const heading = make("h3", panel.title);
    for (const link of panel.links ?? []) heading.append(" ", make("a", link.title, { href: consoleUrl(link.url) }));
    box.append(heading);
    fresh.append(box);
    jobs.push([panel, box]);
  }
  main.replaceChildren(fresh);
  let empty = 0;
  await Promise.all(jobs.map(async ([panel, box]) => {
    try {
      if (!await drawers[panel.type](panel, box, range)) { empty += 1; box.append(make("p", "no data", { class: "empty" })); }
    } catch (error) {
      empty += 1;
      box.append(make("p", String(error.message), { class: "empty" }));
    }
  }));
  const status = document.querySelector("#status");
  status.value = `${jobs.length} panels, ${empty} without data, ${new Date().toLocaleTimeString()}`;
  status.dataset.drawn = state.board;
};

const choose = () => {
  state.board = location.hash.slice(1) || state.places.boards[0];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${state.board}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  return draw();
};

const start = async () => {
  state.places = await (await fetch("places.json")).json();
  const nav = document.querySelector("#boards");
  for (const name of state.places.boards) nav.append(make("a", name.replace("clipmill-", ""), { href: `#${name}` }));
  nav.append(make("a", "console", { href: `${state.places.console}/overview` }));
  addEventListener("hashchange", choose);
  document.querySelector("#range").addEventListener("change", draw);
  await choose();
  setInterval(() => { if (!document.hidden) draw(); }, REFRESH_MS);
};
start();
