// One stream of server-sent events, shared by the pages that show live state.

const TOPICS = ["study.received", "study.changed", "study.deleted", "workitem.changed", "workitem.progressed"];

// `take(topic, body)` for each event; `again()` when some may have been missed; `connected(boolean)` as it comes and goes.
export function listen(address, { take, again, connected }) {
  let source = null;
  let missed = true; // what happened between the page's making and the stream's beginning
  let patience = 1000;
  const open = () => {
    source = new EventSource(address);
    source.addEventListener("open", () => {
      connected?.(true);
      patience = 1000;
      if (missed) again();
      missed = false;
    });
    source.addEventListener("error", () => {
      connected?.(false);
      missed = true;
      if (source.readyState === EventSource.CLOSED && !document.hidden) {
        setTimeout(open, patience);
        patience = Math.min(patience * 2, 30000);
      }
    });
    source.addEventListener("resync", () => again());
    for (const topic of TOPICS) {
      source.addEventListener(topic, (event) => take(topic, JSON.parse(event.data)));
    }
  };
  open();
  // A browser keeps few connections to one host: a tab that nobody sees lets go of its own.
  let hidden = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(() => { source.close(); missed = true; connected?.(false); }, 20000);
    else if (source.readyState === EventSource.CLOSED) open();
  });
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) { missed = true; open(); } });
}

// Calls `act(key)` soon after `ask(key)`, and not more often than once in `pause_ms` for each key.
export function calmly(act, pause_ms) {
  const due = new Map();
  return (key) => {
    if (due.has(key)) {
      due.get(key).again = true;
      return;
    }
    const state = { again: true };
    due.set(key, state);
    const turn = async () => {
      state.again = false;
      try { await act(key); } catch { /* the next event asks again */ }
      setTimeout(() => { if (state.again) turn(); else due.delete(key); }, pause_ms);
    };
    setTimeout(turn, 30);
  };
}

export async function fragment(address, options) {
  const answer = await fetch(address, { headers: { Accept: "text/html" }, ...options });
  if (answer.status === 401) location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
  if (!answer.ok) {
    const error = new Error(`status ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return answer.text();
}

// Moves the bar and words of a Workitem that is running; whether it stands on this page.
export function showProgress(root, body) {
  const stages = JSON.parse(root.dataset.stages ?? "{}");
  const place = root.querySelector(`[data-workitem="${CSS.escape(body.workitem ?? "")}"]`);
  const bar = place?.querySelector("[data-bar]");
  if (!bar) return false;
  const percent = Math.round((body.fraction ?? 0) * 100);
  bar.value = percent;
  const stage = place.querySelector("[data-stage]");
  const said = stages[body.stage];
  if (stage && said) stage.textContent = body.node ? `${said} on node ${short(body.node)}` : said;
  return true;
}

export const short = (text) => (text.length > 14 ? `…${text.slice(-6)}` : text);
