"use strict";
// Draws what the chosen methods keep at the chosen budget. Choices live in the address, so that a
// view can be linked to: #budget=0.1&method=hired,random&overlay=final
const root = document.documentElement;
for (const kind of ["error", "securitypolicyviolation"])
  window.addEventListener(kind, (event) => {
    root.dataset.errors = `${root.dataset.errors ?? ""}${event.message ?? event.blockedURI}\n`;
  });

const examples = JSON.parse(document.getElementById("masks").textContent);
const form = document.querySelector(".controls form");
const inputs = [...form.elements].filter((one) => one.name);

function chosen(name) {
  return inputs.filter((one) => one.name === name && one.checked).map((one) => one.value);
}

function bits(hex, count) {
  return Array.from({ length: count }, (_, n) => (parseInt(hex[n >> 2], 16) >> (3 - (n & 3))) & 1);
}

function droppedPath(kept, valid, side) {
  return kept.map((on, n) => (on || !valid[n] ? "" : `M${n % side} ${(n / side) | 0}h1v1h-1z`)).join("");
}

// The sides on which a kept patch has no kept neighbour.
function edgePath(kept, side) {
  const at = (x, y) => x >= 0 && y >= 0 && x < side && y < side && kept[y * side + x];
  let path = "";
  kept.forEach((on, n) => {
    if (!on) return;
    const x = n % side, y = (n / side) | 0;
    if (!at(x, y - 1)) path += `M${x} ${y}h1`;
    if (!at(x, y + 1)) path += `M${x} ${y + 1}h1`;
    if (!at(x - 1, y)) path += `M${x} ${y}v1`;
    if (!at(x + 1, y)) path += `M${x + 1} ${y}v1`;
  });
  return path;
}

// A merged row has a colour of its own; the more of a patch it takes, the denser that lies on it.
// As rows.py paints it.
const LEVELS = 9, OPACITY = 0.5;

function rowPaths(rows, p, side) {
  return rows.flatMap((row, k) => {
    const byLevel = {};
    for (let i = 0; i < row.length; i += 2) {
      const n = row[i] - p * side * side;
      if (n < 0 || n >= side * side) continue;
      byLevel[row[i + 1]] = `${byLevel[row[i + 1]] ?? ""}M${n % side} ${(n / side) | 0}h1v1h-1z`;
    }
    return Object.entries(byLevel).map(([level, d]) => {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      const fill = `hsl(${(k * 137.508) % 360} 80% 55%)`;
      const attributes = { d, fill, "fill-opacity": (OPACITY * level) / LEVELS, "data-row": k };
      for (const [name, value] of Object.entries(attributes)) path.setAttribute(name, value);
      return path;
    });
  });
}

function drawRows(figure, svg, example, run, summed, room) {
  const p = Number(figure.dataset.p), count = run.budgets[p];
  svg.querySelector(".rows").replaceChildren(...rowPaths(run.rows, p, example.side));
  svg.querySelector(".edge").setAttribute("d", "");
  svg.setAttribute("aria-label", `${svg.dataset.name}: ${count} rows that sum ${summed} of ${room} patches`);
  figure.querySelector(".count").textContent = `${count} of ${room}`;
  return count;
}

function drawPartition(figure, example, run) {
  const p = Number(figure.dataset.p), svg = figure.querySelector("svg"), side = example.side;
  const kept = bits(run.keep[p], side * side), valid = bits(example.valid[p], side * side);
  const count = kept.filter(Boolean).length, room = valid.filter(Boolean).length;
  const lost = run.budgets[p] - count;
  const note = lost > 0 ? ` (${lost} spent on padding)` : "";
  svg.querySelector(".dropped").setAttribute("d", droppedPath(kept, valid, side));
  if (run.rows) return drawRows(figure, svg, example, run, count, room);
  svg.querySelector(".rows").replaceChildren();
  svg.querySelector(".edge").setAttribute("d", edgePath(kept, side));
  svg.setAttribute("aria-label", `${svg.dataset.name}: ${count} of ${room} patches kept${note}`);
  figure.querySelector(".count").textContent = `${count}/${room}${lost > 0 ? ` −${lost}` : ""}`;
  return count;
}

function drawBoard(board, example, article, budget) {
  const method = board.dataset.method, size = method === "dense" ? "1" : budget;
  const run = example.runs[method]?.[size];
  board.classList.toggle("missing", !run);
  board.querySelector(".note").textContent = run?.note ?? "";
  const total = board.querySelector(".total"), answer = board.querySelector(".answer");
  const cell = article.querySelector(`tr[data-method="${method}"] td[data-budget="${size}"]`);
  answer.replaceChildren(...(cell ? [...cell.childNodes].map((one) => one.cloneNode(true)) : []));
  if (!run) {
    total.textContent = `not run at ${size}`;
    return;
  }
  const counts = [...board.querySelectorAll("figure")].map((one) => drawPartition(one, example, run));
  const kept = counts.reduce((sum, count) => sum + count, 0);
  total.textContent = run.rows
    ? `${run.rows.length} rows of ${run.dense} visual tokens`
    : `${kept} of ${run.dense} visual tokens`;
}

function draw() {
  const [budget] = chosen("budget"), [overlay] = chosen("overlay"), methods = chosen("method");
  root.dataset.overlay = overlay;
  for (const article of document.querySelectorAll("article")) {
    const example = examples[article.dataset.example];
    for (const board of article.querySelectorAll(".board")) {
      board.hidden = !methods.includes(board.dataset.method);
      if (!board.hidden) drawBoard(board, example, article, budget);
    }
    for (const cell of article.querySelectorAll("td"))
      cell.classList.toggle("current",
        methods.includes(cell.parentNode.dataset.method) &&
        (cell.dataset.budget === budget || cell.parentNode.dataset.method === "dense"));
  }
  document.getElementById("state").textContent =
    `${methods.join(", ") || "no method"} at budget ${budget}, ${overlay === "kept" ? "kept patches" : `attention of the ${overlay} layer`}`;
}

function fromAddress() {
  for (const [name, value] of new URLSearchParams(location.hash.slice(1)))
    for (const one of inputs.filter((input) => input.name === name))
      one.checked = value.split(",").includes(one.value);
  draw();
}

function toAddress() {
  const names = ["budget", "method", "overlay"];
  const hash = names.map((name) => `${name}=${chosen(name).join(",")}`).join("&");
  history.replaceState(null, "", `#${hash}`);
  draw();
}

form.addEventListener("change", toAddress);
form.addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", fromAddress);
// The choices would cover half of a phone's screen.
document.querySelector(".controls").open = !matchMedia("(max-width: 40rem)").matches;
fromAddress();
