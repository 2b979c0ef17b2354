// A study's page: live state beside the viewer.

import { tellTimes } from "./frame.js";
import { calmly, fragment, listen, showProgress } from "./live.js";
import "./viewer.js";

const study = document.getElementById("study");
const uid = study.dataset.study;
const spoken = document.getElementById("spoken");

async function refresh() {
  const holder = document.createElement("template");
  try {
    holder.innerHTML = await fragment(`/studies/${encodeURIComponent(uid)}/state`);
  } catch (error) {
    if (error.status === 404) location.assign("/studies");
    throw error;
  }
  // Asked here, not before: somebody may have opened it while the answer was on its way.
  if (document.querySelector("dialog[open]")) {
    setTimeout(() => ask("all"), 2000);
    return;
  }
  tellTimes(holder.content);
  const before = tones();
  for (const id of ["findings", "evidence"]) {
    const fresh = holder.content.querySelector(`[data-part="${id}"]`);
    const place = document.getElementById(id);
    if (fresh.textContent === place.textContent) continue;
    const focused = place.contains(document.activeElement);
    place.replaceChildren(...fresh.childNodes);
    if (focused) document.getElementById("main").focus();
  }
  const viewer = holder.content.querySelector("[data-viewer]")?.dataset.viewer ?? "";
  const shown = document.getElementById("viewer")?.dataset.source ?? "";
  if (before !== tones()) {
    spoken.textContent = [...study.querySelectorAll(".analysis .pill, .measure .value")].map((part) => part.textContent.trim()).join(", ");
    document.dispatchEvent(new CustomEvent("findings"));
  }
  if (viewer !== shown) location.reload();
}

const tones = () => [...study.querySelectorAll(".analysis[data-tone]")].map((part) => part.dataset.tone).join(" ");
const ask = calmly(refresh, 800);

listen(study.dataset.events, {
  take: (topic, body) => {
    if (body.study_uid && body.study_uid !== uid) return;
    if (topic === "workitem.progressed" && showProgress(study, body)) return;
    ask("all");
  },
  again: () => ask("all"),
});
