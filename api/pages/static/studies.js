// The study list: live rows, filter as one types.

import { tellTimes } from "./frame.js";
import { calmly, fragment, listen, showProgress } from "./live.js";

const list = document.getElementById("list");
const field = document.getElementById("q");
const form = document.getElementById("search");
const chips = document.getElementById("chips");
const live = document.getElementById("live");
const spoken = document.getElementById("spoken");

const rows = () => list.querySelectorAll("tr[data-study]");
const rowOf = (uid) => list.querySelector(`tr[data-study="${CSS.escape(uid)}"]`);
const isNewest = () => list.dataset.newest === "yes";

function filter() {
  const words = (field?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const show = chips?.querySelector("input:checked")?.value ?? "all";
  let shown = 0;
  for (const row of rows()) {
    const fits = words.every((word) => row.dataset.text.includes(word)) &&
      (show === "all" || row.dataset.tones.split(" ").includes(show));
    row.hidden = !fits;
    shown += Number(fits);
  }
  const total = rows().length;
  const nothing = document.getElementById("nothing");
  if (nothing) nothing.hidden = shown > 0 || total === 0;
  const count = document.getElementById("count");
  if (total) count.textContent = shown === total ? `${total} ${total === 1 ? "study" : "studies"}` : `${shown} of ${total} studies`;
}

async function refreshAll() {
  const body = new URLSearchParams({ q: isNewest() ? "" : field?.value ?? "" });
  const skip = new URLSearchParams(location.search).get("skip");
  const address = skip ? `/studies/rows?skip=${encodeURIComponent(skip)}` : "/studies/rows";
  const holder = document.createElement("template");
  holder.innerHTML = await fragment(address, { method: "POST", body });
  tellTimes(holder.content);
  const now = [...holder.content.querySelectorAll("tr[data-study]")];
  if (uids(now) !== uids(rows())) list.replaceChildren(holder.content);
  else now.filter((row) => stateOf(row) !== stateOf(rowOf(row.dataset.study))).forEach(swap);
  filter();
}

const uids = (some) => [...some].map((row) => row.dataset.study).join(" ");
const stateOf = (row) => row.querySelector(".state-cell").innerHTML + row.dataset.text;

// Puts a fresh row in the place of the old one; whoever stood on its link still does.
function swap(fresh) {
  const before = rowOf(fresh.dataset.study);
  const focused = before.contains(document.activeElement);
  before.replaceWith(fresh);
  if (focused) fresh.querySelector("a").focus();
}

async function refreshRow(uid) {
  const known = rowOf(uid);
  if (!known && !isNewest()) return;
  if (!known && !document.getElementById("rows")) {
    location.reload();
    return;
  }
  let html;
  try {
    html = await fragment(`/studies/${encodeURIComponent(uid)}/row`);
  } catch (error) {
    if (error.status === 404) known?.remove();
    filter();
    return;
  }
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const fresh = holder.content.querySelector("tr");
  const before = rowOf(uid);
  if (before) swap(fresh);
  else {
    fresh.classList.add("fresh");
    document.getElementById("rows").prepend(fresh);
    spoken.textContent = `New study: ${fresh.querySelector(".who-cell a").textContent}`;
  }
  if (before && before.dataset.tones !== fresh.dataset.tones) {
    const said = [...fresh.querySelectorAll(".pill, .headline")].map((part) => part.textContent).join(", ");
    spoken.textContent = `${fresh.querySelector(".who-cell a").textContent}: ${said}`;
  }
  tellTimes(fresh);
  filter();
}

const askRow = calmly(refreshRow, 600);
const askAll = calmly(refreshAll, 1500);

if (chips) chips.hidden = false;
field?.addEventListener("input", filter);
chips?.addEventListener("change", filter);
form?.addEventListener("submit", (event) => {
  if (!list.querySelector(".older") && isNewest()) event.preventDefault();
});
live.hidden = false;
listen(list.dataset.events, {
  take: (topic, body) => {
    if (topic === "workitem.progressed" && showProgress(list, body)) return;
    if (body.study_uid) askRow(body.study_uid);
    else askAll("all");
  },
  again: () => askAll("all"),
  connected: (on) => {
    live.dataset.on = on ? "yes" : "no";
    document.getElementById("live-text").textContent = on ? "live" : "reconnecting";
  },
});
filter();
