// Asks how far an export is, and moves its bar. Reloads the page once, when it has ended.

"use strict";

const EVERY_MS = 2000;

async function look(box) {
  const answer = await fetch(box.dataset.progress, { credentials: "same-origin" });
  if (!answer.ok) {
    return;
  }
  const told = await answer.json();
  if (told.has_ended) {
    window.location.reload();
    return;
  }
  box.querySelector("[data-word]").textContent = told.word;
  box.querySelector("[data-rows]").textContent = told.rows;
  const bar = box.querySelector("progress");
  if (told.share === null) {
    bar.removeAttribute("value");
  } else {
    bar.value = told.share;
  }
  window.setTimeout(look, EVERY_MS, box);
}

for (const box of document.querySelectorAll("[data-progress]")) {
  window.setTimeout(look, EVERY_MS, box);
}
