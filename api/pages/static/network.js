// The network's page: the part that moves is asked for again and again while somebody looks.

import { tellTimes } from "./frame.js";
import { fragment } from "./live.js";

const PAUSE_MS = 2000;
const PATIENCE_MS = 15000;
const place = document.getElementById("network");
const live = document.getElementById("live");
let failures = 0;
let timer = 0;

function say(stale) {
  live.hidden = false;
  const text = stale ? live.dataset.stale : live.dataset.live;
  if (live.textContent !== text) live.textContent = text;
  live.classList.toggle("stale", stale);
}

// Each part is replaced only when it says something else, so that nobody loses a place, a selection or a focus.
function put(text) {
  const holder = document.createElement("template");
  holder.innerHTML = text;
  tellTimes(holder.content);
  for (const fresh of holder.content.querySelectorAll("[data-part]")) {
    const old = place.querySelector(`[data-part="${CSS.escape(fresh.dataset.part)}"]`);
    if (!old || old.innerHTML === fresh.innerHTML) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    old.replaceChildren(...fresh.childNodes);
    if (focused) old.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
}

async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    put(await fragment(place.dataset.address));
    failures = 0;
    say(false);
  } catch (error) {
    failures += 1;
    if (failures > 1) say(true);
  }
  timer = setTimeout(look, Math.min(PAUSE_MS * 2 ** Math.max(failures - 1, 0), PATIENCE_MS));
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
addEventListener("pageshow", (event) => { if (event.persisted) look(); });
timer = setTimeout(look, PAUSE_MS);
