"use strict";
// What every page uses: elements, numbers, tables, the theme. Text is only ever set as text.

const DATA = JSON.parse(document.getElementById("data").textContent);
const PAGE = document.getElementById("page");
PAGE.replaceChildren();

/** An element; `properties` are set on it (dataset, style, on… as objects and functions). */
function el(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  made.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (key === "style" || key === "dataset") Object.assign(made[key], value);
    else if (key.startsWith("aria-") || key === "role" || key === "for") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** An SVG element with attributes. */
function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.flat());
  return made;
}

const NUMBER = new Intl.NumberFormat("en");
const whole = (n) => (n === null || n === undefined ? "–" : NUMBER.format(Math.round(n)));
const percent = (share, digits = 1) =>
  share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)}%`;

/** A number with an SI prefix: 12.3 k. */
function short(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return "–";
  if (n === 0) return "0";
  const size = Math.abs(n);
  for (const [unit, prefix] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]])
    if (size >= unit) return `${+(n / unit).toPrecision(3)}${prefix}`;
  return size >= 0.001 ? `${+n.toPrecision(3)}` : n.toExponential(1);
}

/** A time in µs for people. */
function time(us) {
  if (us === null || us === undefined) return "–";
  const size = Math.abs(us);
  if (size >= 120e6) return `${Math.floor(us / 60e6)} min ${Math.round((us % 60e6) / 1e6)} s`;
  if (size >= 1e6) return `${+(us / 1e6).toPrecision(4)} s`;
  if (size >= 1e3) return `${+(us / 1e3).toPrecision(4)} ms`;
  return `${+us.toPrecision(4)} µs`;
}

/** A table; columns whose cells are numbers or look like them stand on the right. */
function table(head, rows, { caption = null } = {}) {
  const numeric = head.map((_, i) =>
    rows.length > 0 && rows.every((row) => !(row[i] instanceof Node) && /^[-−–+±\d.,\s%kMG]*(ms|µs|s|min|µJ|\/s)?$/.test(String(row[i] ?? ""))));
  const cell = (tag, value, i) => el(numeric[i] ? `${tag}.number` : tag, {}, value instanceof Node ? value : String(value ?? ""));
  return el("div.scroll", {}, el("table", {},
    caption ? el("caption", {}, caption) : null,
    head.some(Boolean) ? el("thead", {}, el("tr", {}, head.map((name, i) => cell("th", name, i)))) : null,
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((value, i) => cell("td", value, i)))))));
}

/** Names and values in two columns; empty values are left out. */
function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl.facts", {}, shown.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value instanceof Node ? value : String(value))]));
}

const note = (text, level = "note") => el(`p.note.${level}`, {}, text);

function section(title, ...children) {
  return el("section", {}, el("h2", {}, title), children);
}

// The theme: that of the system until the reader chooses.
const systemDark = matchMedia("(prefers-color-scheme: dark)");
let printing = false; // paper is white
const isDark = () => !printing && (document.documentElement.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";
const themed = []; // functions to call when the theme changes
const redraw = () => themed.forEach((draw) => draw());
systemDark.addEventListener("change", redraw);
for (const [event, begins] of [["beforeprint", true], ["afterprint", false]])
  addEventListener(event, () => {
    printing = begins;
    redraw();
  });
addEventListener("keydown", (event) => {
  if (event.key === "t" && !event.ctrlKey && !event.metaKey && !event.altKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) toggleTheme();
});
function toggleTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  redraw();
}
/** A colour of the style sheet as canvases take it. */
function colour(name) {
  const probe = el("span", { style: { color: `var(--${name})` } });
  PAGE.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** The head of a page. */
function head(title, about = "") {
  return el("header", {},
    el("div", {}, el("h1", {}, title), about ? el("p.about", {}, about) : null),
    el("button.theme.screen", { type: "button", onclick: toggleTheme, title: "Light or dark (t)" }, "light / dark"));
}

/** Say that everything is drawn; tests wait for it. */
const ready = () => { document.body.dataset.ready = "true"; };
