// What every page does: the colour switch, relative times, dialogs.

const THEMES = { auto: ["Colours: as the system", "auto"], light: ["Colours: light", "sun"], dark: ["Colours: dark", "moon"] };

function themeSwitch() {
  const button = document.getElementById("theme");
  if (!button) return;
  const use = button.querySelector("use");
  const sheet = use.getAttribute("href").split("#")[0];
  const show = (theme) => {
    const [label, symbol] = THEMES[theme];
    button.setAttribute("aria-label", label);
    button.title = label;
    use.setAttribute("href", `${sheet}#${symbol}`);
  };
  show(document.documentElement.dataset.theme ?? "auto");
  button.hidden = false;
  button.addEventListener("click", () => {
    const order = Object.keys(THEMES);
    const next = order[(order.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % order.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try { localStorage.setItem("theme", next); } catch { /* storage is off */ }
    show(next);
  });
}

const STEPS = [[60, 1, "second"], [3600, 60, "minute"], [86400, 3600, "hour"], [86400 * 30, 86400, "day"]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export function ago(ms, now = Date.now()) {
  const seconds = (ms - now) / 1000;
  if (Math.abs(seconds) < 5) return "just now";
  for (const [limit, unit, name] of STEPS) {
    if (Math.abs(seconds) < limit) return relative.format(Math.trunc(seconds / unit), name);
  }
  return null;
}

export function tellTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const text = ago(Number(time.dataset.ago));
    if (text && time.textContent !== text) time.textContent = text;
  }
  for (const time of root.querySelectorAll("time[data-local]")) {
    time.textContent = new Date(time.dateTime).toLocaleString();
    delete time.dataset.local;
  }
}

function dialogs() {
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener) document.getElementById(opener.dataset.open)?.showModal();
    const closer = event.target.closest("[data-close]");
    if (closer) closer.closest("dialog")?.close();
    if (event.target instanceof HTMLDialogElement) event.target.close();
  });
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button && event.target.method === "post" && !event.defaultPrevented) setTimeout(() => { button.disabled = true; });
  });
  addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("form button:disabled")) button.disabled = false;
  });
}

themeSwitch();
dialogs();
tellTimes();
setInterval(tellTimes, 5000);
