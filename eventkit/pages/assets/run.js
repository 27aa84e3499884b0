"use strict";
// The page of a training.

async function page() {
  const { measured, titles, rows } = DATA, drawn = [];
  PAGE.append(head(DATA.title, DATA.about), facts(Object.entries(DATA.facts)));

  PAGE.append(section("Epochs", el("div.columns", {}, epochCurves(rows),
    layerCurves(DATA.layers, "rate", titles, { yLabel: "firing rate", yCaption: "firing rate of each layer, spikes per neuron and step", from: 0 }),
    layerCurves(DATA.layers, "gradient", titles, { yLabel: "gradient norm", yCaption: "gradient norm of each layer, mean over the epoch's steps, before clipping", from: 0 }))));

  PAGE.append(section("Classes", el("div.columns", {}, confusion(measured),
    table(["class", "samples", "recall", "precision"], measured.per_class.map((row) => [row.class, whole(row.samples), percent(row.recall), percent(row.precision)])))));

  const steps = measured.anytime.map((_, i) => i + 1);
  PAGE.append(section("Accuracy against time steps", measured.causal ? null : note("Steps of this network see later ones, so it gives no early answer."),
    el("div.columns", {}, lineChart({ x: steps, series: [{ name: "accuracy", values: measured.anytime.map((share) => 100 * share) }], xLabel: "time steps", yLabel: "accuracy", yCaption: "accuracy of the mean vote so far, %", from: 0, to: 100 }))));

  if (DATA.samples.length) {
    const tiles = new Tiles(DATA.palette);
    PAGE.append(section("Samples", el("div.controls.screen", {}, tiles.button), tiles.element));
    for (const sample of DATA.samples) {
      const right = sample.label === sample.answer;
      drawn.push(tiles.add(sample, el(right ? "figcaption" : "figcaption.wrong", {}, sample.label, el("br"), right ? "correct" : `predicted ${sample.answer}`)));
    }
  }
  if (DATA.spikes.length) drawn.push(...through());
  PAGE.append(cost(measured), layers(measured, titles));
  await Promise.all(drawn);
  ready();
}

/** The confusion matrix: numbers while they fit, else colours. */
function confusion({ confusion: counts, per_class: classes }) {
  const most = Math.max(1, ...counts.flat()), names = classes.map((row) => row.class);
  const caption = el("figcaption", {}, "confusion: rows are true classes, columns predictions");
  if (names.length > 24) {
    const levels = Uint8Array.from(counts.flat(), (n) => 255 * Math.sqrt(n / most));
    const canvas = heatCanvas(levels, names.length, names.length);
    canvas.style.width = "100%";
    return el("figure", {}, caption, canvas);
  }
  return el("figure", {}, caption, el("div.scroll", {}, el("table.confusion", {},
    el("thead", {}, el("tr", {}, el("th"), names.map((name) => el("th.number", { title: name }, el("span", {}, name.length > 22 ? `${name.slice(0, 21)}…` : name))))),
    el("tbody", {}, counts.map((row, i) => el("tr", {}, el("th", {}, names[i]), row.map((n, j) => {
      const cell = el("td.number", { title: `${names[i]} → ${names[j]}: ${n}` }, n ? whole(n) : "");
      if (n) cell.style.background = `color-mix(in srgb, var(${i === j ? "--s0" : "--s1"}) ${15 + 55 * Math.sqrt(n / most)}%, var(--ground))`;
      return cell;
    })))))));
}

/** One sample on its way through the layers. */
function through() {
  const tiles = new Tiles(DATA.palette), names = DATA.titles;
  const [sample] = DATA.samples;
  const series = DATA.spikes.map((layer) => ({ name: names[layer.layer] ?? layer.layer, values: layer.rate.map((rate) => 100 * rate) }));
  PAGE.append(section("One sample through the network",
    el("p.faint", {}, "Mean spikes over a layer's channels in each time step, brightest where most; layers without places as rasters, with time to the right."),
    el("div.controls.screen", {}, tiles.button), tiles.element,
    el("div.columns", {}, lineChart({ x: series[0].values.map((_, i) => i + 1), series, xLabel: "time step", yLabel: "neurons that fire", yCaption: "neurons that fire, % of each layer", from: 0 }))));
  const first = sample ? [tiles.add({ ...sample, name: "input" }, el("figcaption", {}, `input: ${sample.label}`))] : [];
  return [...first, ...DATA.spikes.map((layer) => tiles.add({ ...layer, name: layer.layer, label: "spikes", heat: true }, el("figcaption", {}, names[layer.layer] ?? layer.layer)))];
}

function cost({ ParameterCount, ActivationSparsity, SynapticOperations: operations, energy, latency_ms: latency }) {
  return section("Cost of one sample", facts([
    ["parameters", whole(ParameterCount)],
    ["activation sparsity", percent(ActivationSparsity)],
    ["synaptic operations", `${short(operations.Effective_MACs)} MACs and ${short(operations.Effective_ACs)} ACs of ${short(operations.Dense)} dense`],
    ["energy, estimated", `${short(energy.microjoules)} µJ; all as dense MACs: ${short(energy.microjoules_if_dense)} µJ`],
    ["energy model", energy.model],
    ["latency", latency === null ? null : `${short(latency)} ms on this machine`],
  ]));
}

function layers({ layers: rows, uncounted }, titles) {
  const name = (path) => titles[path] ?? path;
  return section("Layers",
    table(["layer", "module", "firing rate", "operations", "of dense", "kind"], rows.map((row) => [name(row.layer), el("code", {}, row.layer),
      row.rate === undefined ? "" : row.rate.toFixed(4), row.synops === undefined ? "" : short(row.synops), row.dense ? percent(row.synops / row.dense) : "", row.of ?? "spikes"])),
    uncounted?.length ? el("p.faint", {}, `Not counted: ${uncounted.map(name).join(", ")}.`) : null);
}

page();
