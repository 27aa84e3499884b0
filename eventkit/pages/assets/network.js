"use strict";
// Curves of trainings, and what passes through a network.

const SPLITS = ["train", "validation", "test"];

/** The column of a split in a row of an epoch: those of training have no prefix. */
const columnOf = (split, what) => (split === "train" ? what : `${split}_${what}`);
const number = (value) => (value === "" || value === null || value === undefined ? null : +value);

/** Curves of loss and accuracy of one run, for every split that was measured. */
function epochCurves(rows) {
  const x = rows.map((row) => +row.epoch);
  const series = (what, scale) => SPLITS.filter((split) => rows.some((row) => number(row[columnOf(split, what)]) !== null))
    .map((split) => ({ name: split, values: rows.map((row) => { const v = number(row[columnOf(split, what)]); return v === null ? null : v * scale; }) }));
  return [
    lineChart({ x, series: series("accuracy", 100), xLabel: "epoch", yLabel: "accuracy", yCaption: "accuracy, %", from: 0, to: 100 }),
    lineChart({ x, series: series("loss", 1), xLabel: "epoch", yLabel: "loss" }),
  ];
}

/** A value of each layer over the epochs, as lines; layers without it are left out. */
function layerCurves(layers, key, titles, options) {
  const epochs = [...new Set(layers.map((row) => +row.epoch))];
  const names = [...new Set(layers.filter((row) => number(row[key]) !== null).map((row) => row.layer))];
  const value = new Map(layers.map((row) => [`${row.epoch} ${row.layer}`, number(row[key])]));
  if (!names.length) return null;
  const series = names.map((name) => ({ name: titles[name] ?? name, values: epochs.map((epoch) => value.get(`${epoch} ${name}`) ?? null) }));
  return lineChart({ x: epochs, series, xLabel: "epoch", ...options });
}
