// The page's behaviour. Whatever comes from rows is set as text, never as markup.
const given = JSON.parse(document.getElementById("data").textContent);
for (const source of ["lines", "cells", "contests", "ranks", "stability", "budgets"]) {
  // An array a field becomes an object a row.
  const fields = Object.entries(given[source]), length = fields[0]?.[1].length ?? 0;
  given[source] = Array.from({ length }, (_, place) => Object.fromEntries(fields.map(([name, values]) => [name, values[place]])));
}
const { columns, lines, models, figures } = given;
const byId = (id) => document.getElementById(id);
const filters = byId("filters"), picker = byId("figure"), drawer = byId("drawer");
const UNKNOWN = "—";
// Seen one at a time at first, for what differs in them is no contest.
const APART = ["dataset", "model", "budget"];
const AXES = { whose: "Whose", track: "Track", simulator: "Simulator", T: "T", dataset: "Data set", model: "Model", budget: "Budget", state: "Seeds" };

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.map((child) => child ?? UNKNOWN));
  return made;
}
const escaped = (text) => element("span", {}, String(text)).innerHTML;
const compact = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });
const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

function said(column, line) {
  if (column.text) return line[column.text] ?? UNKNOWN;
  const value = line[column.key];
  if (value === null || value === undefined) return UNKNOWN;
  if (typeof value !== "number") return String(value);
  const lower = column.counted && line.coverage !== null && line.coverage < 1 ? "≥ " : "";
  return lower + (column.counted ? compact : plain).format(value);
}

function grid(label, heads, rows) {
  const cells = (row, tag) => row.map((cell) => element(tag, {}, cell ?? UNKNOWN));
  return element("div", { className: "wide", tabIndex: 0, role: "group", ariaLabel: label }, element("table", {},
    element("thead", {}, element("tr", {}, ...cells(heads, "th").map((head) => Object.assign(head, { scope: "col" })))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row, "td"))))));
}

// Filters -----------------------------------------------------------------------------------
const axes = Object.keys(AXES).filter((key) => new Set(lines.map((line) => line[key])).size > 1);
for (const key of axes) {
  const values = [...new Set(lines.map((line) => line[key]))];
  const select = element("select", { name: key }, element("option", { value: "" }, "all"),
    ...values.map((value) => element("option", { value }, String(value))));
  filters.lastElementChild.before(element("label", {}, AXES[key], select));
}
const first = lines.find((line) => line.whose === "yours") ?? lines[0];
const start = Object.fromEntries(axes.map((key) => [key, APART.includes(key) ? String(first[key]) : ""]));
byId("methods").append(...[...new Set(lines.map((line) => line.method))].map((value) => element("option", { value })));
filters.elements.energy.append(...models.map((model, place) => element("option", { value: place, selected: model === given.usual }, model)));
if (!models.length) filters.elements.energy.parentElement.hidden = true;
picker.append(...figures.map((one) => element("option", { value: one.name }, one.title)));

// Names of methods may hold commas themselves: parameters are told so.
function asked(text) {
  const parts = text.split(/,(?![^([]*[)\]])/).map((part) => part.trim()).filter(Boolean);
  const known = new Set(lines.map((line) => line.method));
  return (method) => !parts.length || parts.some((part) => (known.has(part) ? method === part : method.includes(part)));
}
function passing() {
  const wanted = axes.map((key) => [key, filters.elements[key].value]).filter(([, value]) => value);
  const named = asked(filters.elements.method.value);
  return (one) => named(one.method ?? "") && wanted.every(([key, value]) => (one[key] ?? null) === null || String(one[key]) === value);
}
let passes = passing();

// Table -------------------------------------------------------------------------------------
const table = new window.DataTable("#board", {
  data: lines,
  autoWidth: false,
  deferRender: true,
  order: [],
  pageLength: 25,
  lengthMenu: [25, 100, { label: "all", value: -1 }],
  language: { search: "Search", entries: { _: "rows", 1: "row" }, emptyTable: "no rows" },
  layout: { topStart: "pageLength", topEnd: ["search", { buttons: [{ extend: "colvis", text: "Columns" }] }], bottomStart: "info", bottomEnd: "paging" },
  columns: columns.map((column) => ({
    data: null,
    title: escaped(column.title),
    visible: !column.hidden,
    type: column.number ? "num" : "string",
    className: column.number ? "number" : column.key === "given" ? "words" : "",
    render: (_, type, line) => {
      if (type === "sort" || type === "type") return line[column.key] ?? (column.number ? -Infinity : "");
      const text = escaped(said(column, line));
      return type === "display" && column.key === "method" ? `<button type="button" class="row">${text}</button>` : text;
    },
  })),
});
table.search.fixed("filters", (_, line) => passes(line));
byId("board").addEventListener("click", (event) => {
  if (event.target.closest("button.row")) open(table.row(event.target.closest("tr")).data());
});

// Figures -----------------------------------------------------------------------------------
let view = null, shown = null;
function records(source) {
  if (source !== "lines" && source !== "energies") return given[source].filter(passes);
  const seen = new Set(), energy = Number(filters.elements.energy.value || 0);
  // Simulators that agree are drawn once.
  const once = (line) => !seen.has(line.alike) && seen.add(line.alike);
  const shown = table.rows({ search: "applied" }).data().toArray().filter(once);
  if (source === "energies") return shown.flatMap((line) => models.map((model, place) => ({ ...line, energy_model: model, energy: line.energies[place] })));
  return shown.map((line) => ({ ...line, energy_pj: line.energies[energy] ?? null }));
}
async function draw() {
  const figure = figures.find((one) => one.name === picker.value);
  if (!figure) return;  // no row has a number
  if (shown !== figure) {
    shown = figure;
    view?.finalize();
    const data = figure.spec.data.map((one) => (one.name === figure.source ? { ...one, values: records(figure.source) } : one));
    const spec = { ...figure.spec, data, width: Math.max(figure.least, byId("chart").clientWidth - 16), autosize: { type: "fit-x", contains: "padding" }, description: figure.title };
    const made = await window.vegaEmbed("#chart", spec, { mode: "vega", renderer: "svg", ast: true, logLevel: 1, actions: { export: true, source: false, compiled: false, editor: false } });
    if (shown !== figure) return made.finalize();
    view = made.view;
    byId("chart").querySelector("summary")?.setAttribute("aria-label", "Save the figure");
    byId("caption").textContent = figure.caption;
    return;
  }
  await view?.data(shown.source, records(shown.source)).resize().runAsync();
}

// One row -----------------------------------------------------------------------------------
let opened = "";
function open(line) {
  opened = line.id;
  const mine = given.cells.filter((cell) => cell.line === line.id).sort((a, b) => a.seed - b.seed);
  const failed = mine.filter((cell) => cell.status !== "ok");
  const made = [...new Set(mine.map((cell) => cell.made).filter((place) => place !== null))];
  const interval = (cell) => (cell.accuracy == null ? cell.status : `${cell.accuracy.toFixed(2)} (${cell.low.toFixed(2)} to ${cell.high.toFixed(2)})`);
  const remark = given.remarks[line.file];
  byId("drawer-content").replaceChildren(
    element("h2", { id: "drawer-title" }, `${line.method}, T = ${line.T}, ${line.simulator}`),
    element("p", {}, [line.dataset, line.model, `training budget ${line.budget}`, line.track].join(" · ")),
    element("p", {}, "Parameters: ", element("code", {}, line.params)),
    ...(remark ? [element("p", {}, remark)] : []),
    ...failed.map((cell) => element("p", { className: "error" }, `Seed ${cell.seed}: ${cell.status}. ${cell.error}`, element("br"), "Log: ", element("code", {}, cell.log))),
    element("h3", {}, "Numbers"),
    grid("Numbers", ["what", "value"], columns.map((column) => [column.title, said(column, line)])),
    element("h3", {}, "Cells"),
    grid("Cells", ["seed", "accuracy % (Wilson)", "reproduce", "log", "weights", "started"], mine.map((cell) =>
      [String(cell.seed), interval(cell), element("code", {}, `python -m harness reproduce ${cell.id}`), cell.log, cell.weights, cell.started])),
    ...(line.step.length ? [element("h3", {}, "Accuracy % after each step"), grid("Accuracy after each step", line.step.map(String), [line.step_accuracy.map((value) => value?.toFixed(2))])] : []),
    ...(line.layer.length ? [element("h3", {}, "Layers, a sample"), grid("Layers", ["layer", "kind", "firing rate", "AC", "MAC"], line.layer.map((name, place) =>
      [name, line.layer_kind[place], ...["layer_rate", "layer_ac", "layer_mac"].map((key) => (line[key][place] === null ? UNKNOWN : compact.format(line[key][place])))]))] : []),
    element("h3", {}, "Energy estimate a sample, nJ"),
    grid("Energy estimates", ["model", "nJ"], models.map((model, place) => [model, line.energies[place] === null ? UNKNOWN : plain.format(line.energies[place] / 1000)])),
    element("h3", {}, "Where it was made"),
    ...made.map((place) => element("pre", {}, JSON.stringify(given.made[place], null, 1))),
  );
  if (!drawer.open) drawer.showModal();
  drawer.scrollTop = 0;
  remember();
}
drawer.addEventListener("close", () => { opened = ""; remember(); });

// The address holds the view --------------------------------------------------------------------
let restoring = false;
function remember() {
  if (restoring) return;
  const state = new URLSearchParams();
  for (const key of ["method", ...axes]) if (filters.elements[key].value !== (start[key] ?? "")) state.set(key, filters.elements[key].value);
  if (models.length && models[filters.elements.energy.value] !== given.usual) state.set("energy", models[filters.elements.energy.value]);
  if (table.search()) state.set("q", table.search());
  if (picker.value !== figures[0]?.name) state.set("figure", picker.value);
  const [order] = table.order();
  if (order) state.set("sort", `${columns[order[0]].key} ${order[1]}`);
  if (opened) state.set("row", opened);
  history.replaceState(null, "", `#${state}`);
}
function restore() {
  restoring = true;
  const state = new URLSearchParams(location.hash.slice(1));
  for (const key of ["method", ...axes]) filters.elements[key].value = state.get(key) ?? start[key] ?? "";
  if (models.length) filters.elements.energy.value = Math.max(0, models.indexOf(state.get("energy") ?? given.usual));
  picker.value = figures.some((one) => one.name === state.get("figure")) ? state.get("figure") : figures[0]?.name;
  table.search(state.get("q") ?? "");
  const [key, direction] = (state.get("sort") ?? "").split(" ");
  const place = columns.findIndex((column) => column.key === key);
  table.order(place < 0 ? [] : [[place, direction === "desc" ? "desc" : "asc"]]);
  refresh();
  const line = lines.find((one) => one.id === state.get("row"));
  if (line) open(line); else if (drawer.open) drawer.close();
  restoring = false;
}
function refresh() {
  passes = passing();
  const place = Number(filters.elements.energy.value || 0);
  for (const line of lines) line.energy_nj = line.energies[place] == null ? null : line.energies[place] / 1000;
  table.rows().invalidate().draw();
}
let due = 0;
table.on("draw", () => {
  const applied = table.rows({ search: "applied" }).count();
  byId("count").textContent = `${applied} of ${lines.length} rows; a row is a method on a simulator at one T, over its seeds`;
  remember();
  clearTimeout(due);
  due = setTimeout(draw, 60);
});
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("input", refresh);
const all = new URLSearchParams(axes.filter((key) => start[key]).map((key) => [key, ""]));
filters.addEventListener("reset", () => setTimeout(() => { history.replaceState(null, "", `#${all}`); restore(); }));
picker.addEventListener("change", () => { remember(); draw(); });
addEventListener("hashchange", restore);
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; shown = null; clearTimeout(due); due = setTimeout(draw, 200); } });

const failures = given.cells.filter((cell) => cell.status !== "ok");
const owner = new Map(lines.map((line) => [line.id, line]));
const alike = Map.groupBy ? Map.groupBy(failures, (cell) => `${cell.line} ${cell.status} ${cell.error}`) : new Map(failures.map((cell) => [cell.id, [cell]]));
byId("failures").replaceChildren(failures.length
  ? grid("Cells without a number", ["method", "simulator", "T", "seeds", "status", "reason"], [...alike.values()].map((cells) => {
      const line = owner.get(cells[0].line);
      return [line.method, line.simulator, String(line.T), cells.map((cell) => cell.seed).join(", "), cells[0].status, cells[0].error];
    }))
  : element("p", {}, "Every cell has one."));

const dark = matchMedia("(prefers-color-scheme: dark)");
const shade = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", shade);
shade();
restore();
document.documentElement.dataset.ready = "yes";
