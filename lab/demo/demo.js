"use strict";
// Leaves the cards that hold what is looked for and are of the kind that is chosen.
const root = document.documentElement;
for (const kind of ["error", "securitypolicyviolation"])
  window.addEventListener(kind, (event) => {
    root.dataset.errors = `${root.dataset.errors ?? ""}${event.message ?? event.blockedURI}\n`;
  });

const field = document.getElementById("find"), kind = document.getElementById("kind");
const told = document.querySelector(".controls output");
const cards = [...document.querySelectorAll(".card")].map((one) => [one, one.textContent.toLowerCase()]);

function find() {
  const wanted = field.value.trim().toLowerCase();
  let left = 0;
  for (const [card, text] of cards) {
    card.hidden = !text.includes(wanted) || (kind.value !== "all" && card.dataset.kind !== kind.value);
    left += card.hidden ? 0 : 1;
  }
  document.getElementById("nothing").hidden = left > 0;
  told.textContent = `${left} of ${cards.length}`;
}

field.addEventListener("input", find);
kind.addEventListener("change", find);
field.form.addEventListener("submit", (event) => event.preventDefault());
find();
