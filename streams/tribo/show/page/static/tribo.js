// Keeps the page live: counts down to each due, and takes the parts anew when the ledger has changed.
"use strict";
const parts = document.querySelector("[data-live]");

function left(milliseconds) {
  if (milliseconds <= 0) return "over";
  const seconds = Math.floor(milliseconds / 1000);
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = seconds;
  const said = [];
  for (const [name, length] of units) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count) said.push(`${count} ${name}`);
  }
  return said.slice(0, 2).join(" ") || "0 s";
}

let taken = performance.now();

function count() {
  const passed = performance.now() - taken; // by the server's clock when taken, and ours from then on: theirs may differ
  for (const due of document.querySelectorAll("[data-left]")) due.textContent = left(Number(due.dataset.left) - passed);
}
setInterval(count, 1000);

let asked = false;
let again = false; // something changed meanwhile: look once more, or the last change of a burst would never show
async function refresh() {
  if (asked) { again = true; return; }
  asked = true;
  again = Boolean(document.getSelection().toString()); // somebody is reading: don't take the text from under them
  try {
    if (again) return;
    const answer = await fetch("/parts");
    if (!answer.ok) { again = true; return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const section of fresh.querySelectorAll("section")) {
      const here = document.getElementById(section.id);
      if (here && here.innerHTML !== section.innerHTML) here.replaceChildren(...section.childNodes);
    }
    const footer = fresh.querySelector("footer");
    if (footer) parts.querySelector("footer").replaceWith(footer);
    taken = performance.now();
    count();
  } catch {
    again = true; // the server is away: ask later
  } finally {
    setTimeout(() => { asked = false; if (again) refresh(); }, 1500);
  }
}
if (parts) new EventSource("/stream").addEventListener("changed", refresh);
