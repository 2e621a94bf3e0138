// Keys, live figures and the countdown of every view. No markup is ever made from text: rows are taken over as the server wrote them,
// parsed by the browser as an inert document.
"use strict";

// -- what is left until a due -----------------------------------------------------------------------------------------
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
function left(milliseconds) {
  if (milliseconds <= 0) return "overdue";
  let rest = Math.floor(milliseconds / 1000);
  const first = Math.max(UNITS.findIndex(([, length]) => rest >= length), 0);
  const said = [];
  for (const [name, length] of UNITS.slice(first, first + 2)) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count) said.push(`${count} ${name}`);
  }
  return said.join(" ") || "0 s";
}
let taken = performance.now();
function countdown() {
  const passed = performance.now() - taken; // by the server's clock when taken, by ours from then on: theirs may differ
  for (const due of document.querySelectorAll("[data-left]")) {
    const rest = Number(due.dataset.left) - passed;
    const text = left(rest);
    if (due.textContent !== text) due.textContent = text;
    due.classList.toggle("soon", rest < 3600000);
  }
}
setInterval(countdown, 1000);
countdown();

// -- live: rows change in place; what would move things waits until nobody is reading there ------------------------------
const live = document.querySelector("[data-live]");
const news = document.querySelector(".news");
const alive = document.getElementById("alive");
let asked = false;
let again = false;
let waiting = null; // the fresh document that waits to be shown

function busy(section) { // somebody reads here: points at it, is in it with the keyboard, or has marked text
  const marked = document.getSelection();
  return section.matches(":hover") || section.contains(document.activeElement) || Boolean(section.querySelector(".selected"))
    || (!marked.isCollapsed && section.contains(marked.anchorNode));
}
function keys(section) { return [...section.querySelectorAll("[data-key]")].map((row) => row.dataset.key); }
function take(section, fresh, force) {
  if (section.innerHTML === fresh.innerHTML) return true;
  const before = new Map([...section.querySelectorAll("[data-key]")].map((row) => [row.dataset.key, row]));
  const order = keys(fresh);
  const same = order.length === before.size && order.every((key, at) => [...before.keys()][at] === key);
  if (same && order.length) { // the same rows: only what they say has changed
    for (const row of fresh.querySelectorAll("[data-key]")) {
      const here = before.get(row.dataset.key);
      if (here.innerHTML === row.innerHTML || here.contains(document.activeElement)) continue;
      here.replaceChildren(...row.childNodes);
    }
    return true;
  }
  if (busy(section) && !force) return false;
  for (const row of fresh.querySelectorAll("[data-key]")) if (before.size && !before.has(row.dataset.key)) row.classList.add("fresh");
  section.replaceChildren(...fresh.childNodes);
  return true;
}
function show(force) {
  if (!waiting) return;
  let all = true;
  for (const fresh of waiting.querySelectorAll("[data-part]")) {
    const here = document.getElementById(fresh.id);
    if (here && !take(here, fresh.cloneNode(true), force)) all = false;
  }
  countdown();
  if (all) waiting = null;
  if (news) news.hidden = all;
}
async function refresh() {
  if (asked) { again = true; return; }
  asked = true;
  again = false;
  try {
    const answer = await fetch(live.dataset.live, { headers: { Accept: "text/html" } });
    if (!answer.ok) { again = true; return; }
    waiting = new DOMParser().parseFromString(rules.createHTML(await answer.text()), "text/html");
    taken = performance.now();
    show(false);
  } catch {
    again = true; // the server is away: ask later
  } finally {
    setTimeout(() => { asked = false; if (again) refresh(); }, 1500);
  }
}
// The one place where text becomes a document, and an inert one: scripts in it never run. The policy's name is in the page's headers.
const rules = window.trustedTypes ? window.trustedTypes.createPolicy("tribo", { createHTML: (text) => text }) : { createHTML: (text) => text };
if (live) {
  const stream = new EventSource("/stream");
  stream.addEventListener("changed", refresh);
  stream.addEventListener("open", () => { alive.textContent = "Live"; });
  stream.addEventListener("error", () => { alive.textContent = "Not connected: what you see may be old. Trying again."; });
  news.addEventListener("click", () => show(true));
  document.addEventListener("pointerout", () => setTimeout(() => show(false), 400));
  window.addEventListener("pagehide", () => stream.close());
}

// -- keys ------------------------------------------------------------------------------------------------------------
const dialog = document.getElementById("keys");
let going = 0;
function rows() { return [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null); }
function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.classList.contains("selected"));
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
  for (const row of all) row.classList.toggle("selected", row === next);
  next.scrollIntoView({ block: "nearest" });
  const link = next.querySelector("a[href]");
  (link || next).focus({ preventScroll: true });
  next.dispatchEvent(new CustomEvent("chosen", { bubbles: true }));
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (Date.now() - going < 1500) {
    going = 0;
    const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); }
    return;
  }
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "g") going = Date.now();
  else if (event.key === "/") { event.preventDefault(); document.querySelector(".find input").focus(); }
  else if (event.key === "?") dialog.showModal();
  else if (event.key === "Escape") for (const row of document.querySelectorAll(".selected")) row.classList.remove("selected");
});
for (const form of document.querySelectorAll("form[data-sure]")) {
  form.addEventListener("submit", (event) => { if (!window.confirm(form.dataset.sure)) event.preventDefault(); });
}
for (const select of document.querySelectorAll(".filters select")) select.addEventListener("change", () => select.form.requestSubmit());
for (const form of document.querySelectorAll("form.filters")) { // an address without empty parameters is one to hand on
  form.addEventListener("submit", () => { for (const field of form.elements) if (!field.value) field.disabled = true; });
}

// -- a journey's picture -----------------------------------------------------------------------------------------------
const picture = document.querySelector(".picture");
if (picture) {
  const svg = picture.querySelector("svg");
  const height = Number(svg.getAttribute("height"));
  const length = Number(picture.dataset.length);
  const begin = Number(picture.dataset.begin);
  const caption = document.getElementById("caption");
  const points = [...svg.querySelectorAll("[data-a]")].map((shape) => [shape, Number(shape.dataset.a), shape.dataset.b === undefined ? null : Number(shape.dataset.b)]);
  const inside = [...svg.querySelectorAll("[data-in-a]")].map((text) => [text, Number(text.dataset.inA), Number(text.dataset.inB)]);
  const axis = svg.querySelector("g.axis");
  const STEPS = [60e3, 300e3, 900e3, 3600e3, 10800e3, 21600e3, 43200e3, 864e5, 2 * 864e5, 7 * 864e5, 14 * 864e5, 28 * 864e5, 91 * 864e5, 364 * 864e5, 3640 * 864e5];
  // Two ways to lay time out: as it passed, or with long quiet stretches drawn shorter, so that a busy hour among quiet weeks can be read.
  // `place` maps a time to where it is, 0 to `length`; zooming and moving happen there.
  const stops = [...new Set([0, ...points.filter(([shape]) => shape.matches(".tick, .flag, .promise circle")).map(([, a]) => a).filter((a) => a >= 0 && a <= length), length])].sort((a, b) => a - b);
  const weights = stops.slice(1).map((stop, at) => Math.log1p((stop - stops[at]) / 9e5) + 0.25);
  const whole = weights.reduce((sum, weight) => sum + weight, 0);
  const reached = weights.reduce((sums, weight) => [...sums, sums[sums.length - 1] + (weight / whole) * length], [0]);
  const gaps = stops.slice(1).map((stop, at) => stop - stops[at]).sort((a, b) => a - b);
  let even = gaps.length > 3 && gaps[Math.floor(gaps.length / 2)] < length / 60;
  function place(time) {
    if (!even || time <= 0 || time >= length) return time;
    let low = 0;
    let high = stops.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (stops[middle] <= time) low = middle; else high = middle; }
    return reached[low] + ((time - stops[low]) / (stops[high] - stops[low])) * (reached[high] - reached[low]);
  }
  let from = 0;
  let shown = length;
  let width = 1000;
  let current = 0;

  function label(at, step) {
    const text = new Date(at).toISOString();
    if (step < 864e5) return text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
    return step < 300 * 864e5 ? text.slice(5, 10) : text.slice(0, 7);
  }
  function drawAxis(x) {
    const step = STEPS.find((one) => ((even ? length : shown) / one) * 64 <= (even ? (width * length) / shown : width)) || STEPS[STEPS.length - 1];
    const marks = [];
    let last = -99;
    for (let at = Math.ceil(begin / step) * step; at < begin + length; at += step) {
      const here = x(at - begin);
      if (here < 0 || here > width || here - last < 58) continue;
      last = here;
      const group = document.createElementNS("http://www.w3.org/2000/svg", "g");
      group.setAttribute("transform", `translate(${here},0)`);
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      line.setAttribute("y1", 16); line.setAttribute("y2", height);
      const text = document.createElementNS("http://www.w3.org/2000/svg", "text");
      text.setAttribute("x", 3); text.setAttribute("y", 12);
      text.textContent = here < width - 34 ? label(at, step) : "";
      group.append(line, text);
      marks.push(group);
    }
    axis.replaceChildren(...marks);
  }
  function draw() {
    width = Math.max(picture.clientWidth, 200);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const x = (at) => Math.round(((place(at) - from) / shown) * width * 100) / 100;
    const near = (at) => Math.min(Math.max(x(at), -9999), width + 9999); // far outside is outside all the same
    for (const [shape, a, b] of points) {
      if (shape.parentNode === axis) continue;
      if (b === null) shape.setAttribute("transform", `translate(${near(a)},0)`);
      else if (shape.tagName === "line") { shape.setAttribute("x1", near(a)); shape.setAttribute("x2", near(b)); }
      else { shape.setAttribute("x", near(a)); shape.setAttribute("width", Math.max(near(b) - near(a), 0.5)); }
    }
    for (const [text, a, b] of inside) {
      const start = Math.max(near(a), 0);
      const room = Math.min(near(b), width) - start - 8;
      text.setAttribute("x", start + 6);
      const fits = room > 24;
      text.setAttribute("visibility", fits ? "visible" : "hidden");
      if (fits) {
        text.dataset.whole ??= text.textContent;
        const letters = Math.floor(room / 6.2);
        const whole = text.dataset.whole;
        text.textContent = whole.length <= letters ? whole : letters < 4 ? "" : `${whole.slice(0, letters - 1)}…`;
      }
    }
    drawAxis(x);
    picture.classList.toggle("zoomed", shown < length);
    for (const button of document.querySelectorAll("[data-even]")) button.setAttribute("aria-pressed", String(even));
  }
  function zoom(factor, middle) {
    const wanted = Math.min(Math.max(shown * factor, Math.min(60e3, length)), length);
    const share = (middle - from) / shown;
    from = Math.min(Math.max(middle - share * wanted, 0), length - wanted);
    shown = wanted;
    draw();
  }
  function at(event) { return from + ((event.clientX - svg.getBoundingClientRect().left) / width) * shown; }
  const order = [...svg.querySelectorAll(".tick")].sort((a, b) => a.dataset.event - b.dataset.event);
  function choose(number, scroll) {
    current = number;
    const row = document.getElementById(`e${number}`);
    const tick = order.find((one) => Number(one.dataset.event) === number);
    for (const one of document.querySelectorAll(".on")) one.classList.remove("on");
    if (row) {
      row.classList.add("on");
      caption.textContent = [...row.cells].slice(0, 4).map((cell) => cell.textContent.trim()).join(" · ");
      if (scroll) row.scrollIntoView({ block: "center" });
    }
    if (!tick) return;
    tick.classList.add("on");
    const time = Number(tick.dataset.a);
    const cursor = points.find(([shape]) => shape.classList.contains("cursor"));
    cursor[1] = time;
    const there = place(time);
    if (there < from || there > from + shown) from = Math.min(Math.max(there - shown / 2, 0), length - shown);
    draw();
  }
  function middle() { // what is looked at: the event chosen, or the middle of what is shown
    const tick = order.find((one) => Number(one.dataset.event) === current);
    return tick ? place(Number(tick.dataset.a)) : from + shown / 2;
  }
  picture.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") zoom(0.5, middle());
    else if (event.key === "-") zoom(2, from + shown / 2);
    else if (event.key === "0") { from = 0; shown = length; draw(); }
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      const numbers = order.map((one) => Number(one.dataset.event));
      const place = numbers.indexOf(current);
      choose(numbers[Math.min(Math.max(place + (event.key === "ArrowRight" ? 1 : -1), 0), numbers.length - 1)], false);
    } else return;
    event.preventDefault();
  });
  picture.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return; // the page's own scrolling stays the page's
    event.preventDefault();
    zoom(event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, at(event));
  }, { passive: false });
  picture.addEventListener("dblclick", (event) => zoom(0.4, at(event)));
  let grabbed = null;
  picture.addEventListener("pointerdown", (event) => { if (shown < length) grabbed = [event.clientX, from]; });
  window.addEventListener("pointerup", () => { grabbed = null; picture.classList.remove("dragged"); });
  picture.addEventListener("pointermove", (event) => {
    if (grabbed) {
      picture.classList.add("dragged");
      from = Math.min(Math.max(grabbed[1] - ((event.clientX - grabbed[0]) / width) * shown, 0), length - shown);
      draw();
      return;
    }
    const lane = event.target.closest(".lane");
    const said = event.target.closest("[data-event]");
    if (said) choose(Number(said.dataset.event), false);
    else if (lane && event.target.closest(".holder")) caption.textContent = event.target.closest(".holder").dataset.says;
  });
  svg.addEventListener("click", (event) => {
    const said = event.target.closest("[data-event]");
    if (said) choose(Number(said.dataset.event), true);
  });
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      if (button.dataset.zoom === "all") { from = 0; shown = length; draw(); } else zoom(button.dataset.zoom === "in" ? 0.5 : 2, middle());
    });
  }
  document.querySelector("[data-even]").addEventListener("click", () => { even = !even; from = 0; shown = length; draw(); });
  for (const one of document.querySelectorAll(".told [data-event]")) {
    for (const kind of ["pointerenter", "focusin", "chosen"]) one.addEventListener(kind, () => choose(Number(one.dataset.event), false));
  }
  new ResizeObserver(draw).observe(picture);
}
