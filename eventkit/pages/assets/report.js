"use strict";
// The report of a store.

const WHAT = { events: "events", seconds: "duration", rate: "event rate" };
const seconds = (s) => (s === null ? "–" : time(s * 1e6));
const formatOf = (name) => (name === "seconds" ? seconds : name === "rate" ? (n) => `${short(n)}/s` : short);

async function report() {
  const { splits, classes } = DATA;
  PAGE.append(head(DATA.title, DATA.about));
  const counts = splits.map((name) => `${whole(DATA.balance[name].reduce((a, b) => a + b, 0))} ${name}`).join(" + ");
  PAGE.append(facts([["samples", counts], ...Object.entries(DATA.facts)]), findings());
  PAGE.append(section("Command", el("pre", {}, DATA.command)));

  const tiles = new Tiles(DATA.palette);
  PAGE.append(section("Samples", el("div.controls.screen", {}, tiles.button, el("span.faint", {}, "OFF is blue, ON is orange; events over the sample's time")), tiles.element));
  const drawn = DATA.tiles.map((sample) => tiles.add(sample, el("figcaption", {}, sample.label, el("br"), el("span.faint", {}, sample.name))));

  const most = 40, shown = classes.slice(0, most);
  PAGE.append(section("Classes",
    classes.length > most ? note(`Charts show the first ${most} of ${classes.length} classes; the table has all.`) : null,
    el("div.columns", {},
      barChart(shown, splits.map((name) => ({ name, values: shown.map((_, i) => DATA.balance[name][i] ?? 0) })), { caption: "samples per class" }),
      Object.keys(DATA.polarity).length ? barChart(Object.keys(DATA.polarity).slice(0, most), [{ name: "ON", values: Object.values(DATA.polarity).slice(0, most) }],
        { caption: `share of ON events per class (all: ${percent(DATA.on)})`, format: percent, mark: DATA.on, to: 1 }) : null),
    el("details", { open: classes.length <= 12 }, el("summary", {}, "Medians per class and split"),
      table(["split", "class", "samples", "events", "duration", "event rate"],
        DATA.table.map((row) => [row.split, row.class, whole(row.samples), whole(row.events), seconds(row.seconds), row.rate === null ? "–" : `${short(row.rate)}/s`])))));

  PAGE.append(section("Distributions", el("div.columns", {},
    histogram(DATA.histograms.events, { xLabel: "events per sample", caption: "events" }),
    histogram(DATA.histograms.seconds, { xLabel: "seconds", caption: "duration, first to last event" }),
    histogram(DATA.histograms.rate, { xLabel: "events per second", caption: "event rate" }), await density())));

  PAGE.append(section("Events", table(["split", ...ledgerNames()], splits.map((name) => [name, ...ledgerNames().map((key) => whole(DATA.ledger[name][key] ?? 0))]))));
  PAGE.append(outliers(), duplicates());
  PAGE.append(section("Provenance", facts(Object.entries(DATA.provenance).map(([key, value]) => [key, /digest|split|made/.test(key) ? el("code", {}, value) : value]))));
  PAGE.append(el("p.faint", {}, `Counts, durations and checksums are of all ${whole(DATA.samples)} samples; density, polarity and pictures of ${whole(DATA.read)}, taken from all splits and classes in turn.`));
  await Promise.all(drawn);
  ready();
}

/** What a reader should know first. */
function findings() {
  const found = [];
  const { across, within, shared } = DATA.duplicates;
  if (across) found.push(note(`${whole(across)} groups of identical samples are in more than one split: test results on them are not independent.`, "damage"));
  if (within) found.push(note(`${whole(within)} groups of identical samples are within one split.`));
  if (shared) found.push(note(`${whole(shared)} source files give samples to more than one split.`));
  for (const [name, n] of Object.entries(DATA.empty)) if (n) found.push(note(`${whole(n)} samples of ${name} hold no events.`));
  if (DATA.outliers.found) found.push(note(`${whole(DATA.outliers.found)} values are far from the median of their class; see Outliers.`));
  return el("div", {}, found, DATA.warnings.map((text) => note(text)));
}

function ledgerNames() {
  const order = ["read", "invalid", "out_of_bounds", "unbinned", "binned"];
  const names = [...new Set(DATA.splits.flatMap((name) => Object.keys(DATA.ledger[name])))];
  const place = (name) => (name === "binned" ? 9 : name === "unbinned" ? 8 : name === "backward_steps" ? 10 : order.includes(name) ? order.indexOf(name) : 5);
  return names.sort((a, b) => place(a) - place(b));
}

async function density() {
  const { width, height, data, silent, hottest } = DATA.density;
  const canvas = heatCanvas(await inflate(data), width, height);
  Object.assign(canvas.style, { width: "100%", maxWidth: "30rem", aspectRatio: `${width} / ${Math.max(height, width / 8)}` });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Where on the sensor events are");
  return el("figure", {}, el("figcaption", {}, "where events are: dark none, yellow most (square root)"), canvas,
    el("figcaption", {}, `${percent(silent)} of the pixels have none; the busiest has ${short(hottest)} times the median`));
}

function outliers() {
  const { found, rows } = DATA.outliers;
  if (!found) return section("Outliers", el("p", {}, "No sample is far from the median of its class in events, duration or rate."));
  return section("Outliers", el("p.faint", {}, "Values more than five robust standard deviations from the median of their class, in the logarithm; the farthest first."),
    table(["split", "sample", "class", "quantity", "value", "median", "distance"],
      rows.map((row) => [row.split, whole(row.sample), row.class, WHAT[row.what], formatOf(row.what)(row.value), formatOf(row.what)(row.median), `${row.distance > 0 ? "+" : "−"}${Math.abs(row.distance).toFixed(1)}`])),
    found > rows.length ? el("p.faint", {}, `${whole(found - rows.length)} more are not shown.`) : null);
}

function duplicates() {
  const { rows, across, within } = DATA.duplicates;
  if (!rows.length) return section("Duplicates", el("p", {}, "No two samples have the same contents."));
  return section("Duplicates", table(["samples", "classes", "splits", "contents"], rows.map((row) => [
    row.samples.join(", ") + (row.more ? ` and ${row.more} more` : ""), row.classes.join(", "),
    row.across ? el("strong.wrong", {}, "several") : "one", row.same ? "identical" : "same checksum and count"])),
    across + within > rows.length ? el("p.faint", {}, `${whole(across + within - rows.length)} more groups are not shown.`) : null);
}

report();
