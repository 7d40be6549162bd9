"use strict";
// Hides the examples that do not hold what is looked for, and what is then empty.
const root = document.documentElement;
for (const kind of ["error", "securitypolicyviolation"])
  window.addEventListener(kind, (event) => {
    root.dataset.errors = `${root.dataset.errors ?? ""}${event.message ?? event.blockedURI}\n`;
  });

const field = document.getElementById("find"), told = document.querySelector(".controls output");
const cards = [...document.querySelectorAll(".card")].map((one) => [one, one.textContent.toLowerCase()]);

function find() {
  const wanted = field.value.trim().toLowerCase();
  for (const [card, text] of cards) card.hidden = !text.includes(wanted);
  for (const kind of document.querySelectorAll(".kind"))
    kind.hidden = wanted !== "" && !kind.querySelector(".card:not([hidden])");
  const left = cards.filter(([card]) => !card.hidden).length;
  told.textContent = wanted ? `${left} of ${cards.length}` : "";
}

field.addEventListener("input", find);
field.form.addEventListener("submit", (event) => event.preventDefault());
