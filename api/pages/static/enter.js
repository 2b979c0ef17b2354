// A one-time link: its secret stands behind the #, which no server sees, and is exchanged for a session here.

const parts = new URLSearchParams(location.hash.slice(1));
const next = parts.get("next") ?? "/";
const said = document.getElementById("said");
history.replaceState(null, "", "/enter");

function stop(text) {
  said.textContent = text;
  document.getElementById("ways").hidden = false;
}

async function exchange(token) {
  const answer = await fetch("/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (answer.ok) location.replace(/^\/(?![/\\])/.test(next) ? next : "/");
  else {
    const problem = await answer.json().catch(() => ({}));
    stop(`${problem.detail ?? "The link does not work"}. Ask for a new one.`);
  }
}

const token = parts.get("token");
if (token) exchange(token).catch(() => stop("The hub does not answer."));
else stop("This link is not complete.");
