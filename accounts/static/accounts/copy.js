// A button with data-copy="id" copies the text of the element with that id.

"use strict";

function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

async function copy(element) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(element.textContent);
    return;
  }
  // Browsers offer the clipboard to pages over HTTPS only; over HTTP this still works.
  select(element);
  if (!document.execCommand("copy")) {
    throw new Error("The browser does not allow copying.");
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) {
    return;
  }
  const source = document.getElementById(button.dataset.copy);
  try {
    await copy(source);
    button.textContent = "Copied";
  } catch {
    select(source);
    button.textContent = "Selected: press Ctrl+C";
  }
});
