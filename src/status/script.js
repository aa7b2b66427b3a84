// Keeps the page as it would be if it were loaded again: asks the daemon for HTML when something is new, and
// puts what differs in its place. Nothing from outside is ever made into markup here.
"use strict";

const form = document.querySelector("form");
const live = document.getElementById("live");
const SPACING = 500; // milliseconds from one request to the next
let rows = new Set(); // those to ask for
let whole = false; // or the whole page
let busy = false;
let asked = 0;
let timer;
let events; // where what is new is told
const AWAY = "Not live; trying again.";

function ask(everything) {
  whole ||= everything;
  if (busy || timer || document.hidden || !(whole || rows.size)) return;
  timer = setTimeout(refresh, Math.max(0, asked + SPACING - Date.now()));
}

async function refresh() {
  const address = new URL(location.href);
  const some = !whole && rows.size <= 50;
  if (some) address.searchParams.set("rows", [...rows].join());
  [timer, busy, whole, asked] = [undefined, true, false, Date.now()];
  rows.clear();
  try {
    const answer = await fetch(address, { signal: AbortSignal.timeout(10_000) });
    if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"), some);
  } catch {
    // The daemon is away, and is asked again once there are events.
    live.textContent = AWAY;
  }
  busy = false;
  ask(false);
}

const order = (page) => [...page.querySelectorAll("#list tbody tr")].map((row) => row.id || row.textContent).join("\n");

function show(next, some) {
  const inPlace = some || order(document) === order(next);
  document.title = next.title;
  for (const part of next.querySelectorAll(inPlace ? "#list tr[id], [data-live]" : "#list, [data-live]")) {
    const old = document.getElementById(part.id);
    if (!old || old.isEqualNode(part) || (some && ["found", "pages"].includes(part.id))) continue;
    const focused = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
    old.replaceWith(part);
    if (focused) part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
}

// Only while somebody looks: a browser has six connections to the daemon, over all of its tabs.
function listen() {
  if (events || document.hidden) return;
  events = new EventSource("/api/v1/events");
  events.onopen = () => {
    live.textContent = "Live.";
    ask(true);
  };
  events.onmessage = ({ data }) => {
    const { checked, changed } = JSON.parse(data);
    for (const id of checked) if (document.getElementById(`m${id}`)) rows.add(id);
    ask(!form ? rows.size > 0 : changed.length > 0);
  };
  events.addEventListener("all", () => ask(true));
  events.onerror = () => {
    live.textContent = AWAY;
    if (events.readyState !== EventSource.CLOSED) return;
    leave();
    setTimeout(listen, 10_000);
  };
}

function leave() {
  events?.close();
  events = undefined;
}

if (form) {
  let typing;
  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      const wanted = [...new FormData(form)].filter(([, value]) => value);
      history.replaceState(null, "", `?${new URLSearchParams(wanted)}`);
      ask(true);
    }, 200);
  });
}
document.addEventListener("visibilitychange", () => (document.hidden ? leave() : listen()));
listen();
