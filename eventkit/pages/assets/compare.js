"use strict";
// Trainings side by side.

const { runs, settings } = DATA;
const share = (run, key) => {
  const value = run.accuracy[key], spread = run.spread[key];
  return value === null || value === undefined ? "–" : `${percent(value)}${spread === null || spread === undefined ? "" : ` ± ${percent(spread)}`}`;
};
PAGE.append(head(DATA.title, DATA.about), el("div", {}, DATA.notes.map((text) => note(text)),
  runs.filter((run) => !run.finished).map((run) => note(`${run.name} is not finished.`))));
PAGE.append(section("Accuracy", table(["run", "model", "test, best validation epoch", "test, last epoch", "validation", "epochs", "time"],
  runs.map((run) => [run.members > 1 ? `${run.name} (mean of ${run.members})` : run.name, run.model, share(run, "at_best_validation"), share(run, "last"), percent(run.validation), whole(run.epochs), run.seconds === null ? "–" : time(run.seconds * 1e6)]))));
PAGE.append(section("Curves", el("div.columns", {}, [
  ["test_accuracy", "test accuracy, %", 100], ["validation_accuracy", "validation accuracy, %", 100], ["accuracy", "training accuracy, %", 100],
  ["loss", "training loss", 1], ["validation_loss", "validation loss", 1], ["rate", "mean firing rate", 1],
].map(([key, yCaption, scale]) => {
  const series = runs.map((run) => ({ name: run.name, values: run.rows.map((row) => (row[key] ?? null) === null ? null : row[key] * scale) }));
  const most = Math.max(1, ...runs.map((run) => run.rows.length));
  if (!series.some(({ values }) => values.some((value) => value !== null))) return null;
  return lineChart({ x: Array.from({ length: most }, (_, i) => i + 1), series, xLabel: "epoch", yLabel: yCaption, yCaption, ...(scale === 100 ? { from: 0, to: 100 } : {}) });
}))));
PAGE.append(section("Cost of one sample", table(["run", "parameters", "MACs", "ACs", "energy, estimated", "latency", "activation sparsity"],
  runs.map((run) => [run.name, whole(run.parameters), short(run.macs), short(run.acs), run.microjoules === null ? "–" : `${short(run.microjoules)} µJ`, run.latency_ms === null ? "–" : `${short(run.latency_ms)} ms`, percent(run.ActivationSparsity)]))));
PAGE.append(section("Settings that differ", Object.keys(settings).length
  ? table(["setting", ...runs.map((run) => run.name)], Object.entries(settings).map(([name, values]) => [name, ...values.map((value) => el("span", {}, value === null ? "–" : Array.isArray(value) ? value.join(", ") : String(value)))]))
  : el("p", {}, "None.")));
ready();
