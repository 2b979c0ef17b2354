// Sending studies: dropped folders, files or zips, each drop one upload with its own progress and outcomes.

const drop = document.getElementById("drop");
const limits = JSON.parse(drop.dataset.limits);
const list = document.getElementById("uploads");
const spoken = document.getElementById("spoken");
const ADDRESS = "/api/upload";
const PASSED_BY = /(^|\/)(\.DS_Store|Thumbs\.db|desktop\.ini|DICOMDIR|__MACOSX\/.*|\._.*)$/i;
const ROWS_SHOWN_MAX = 2000;

// What was dropped may hold folders, whose entries come in pieces of at most a hundred.
async function filesOf(items) {
  const found = [];
  const entries = [...items].map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile?.()).filter(Boolean);
  const walk = async (entry, path) => {
    if (found.length > limits.instances) return;
    if (entry instanceof File) found.push({ file: entry, name: entry.name });
    else if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push({ file, name: path + file.name });
    } else if (entry.isDirectory) {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!some.length) break;
        for (const inner of some) await walk(inner, `${path}${entry.name}/`);
      }
    }
  };
  for (const entry of entries) await walk(entry, "");
  return found;
}

const size = (bytes) => {
  const unit = bytes >= 1e9 ? [1e9, "GB"] : bytes >= 1e6 ? [1e6, "MB"] : [1e3, "kB"];
  return `${(bytes / unit[0]).toFixed(bytes >= 1e6 ? 1 : 0)} ${unit[1]}`;
};
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

class Upload {
  constructor(title) {
    this.part = document.getElementById("upload-part").content.cloneNode(true).querySelector("section");
    this.part.setAttribute("aria-label", title);
    this.set("name", title);
    list.prepend(this.part);
  }

  at(name) { return this.part.querySelector(`[data-${name}]`); }
  set(name, text) { this.at(name).textContent = text; }

  state(tone, text) {
    this.at("state").className = `pill ${tone}`;
    this.set("state", text);
  }

  send(all) {
    const files = all.filter(({ name }) => !PASSED_BY.test(name));
    const total = files.reduce((sum, { file }) => sum + file.size, 0);
    if (!files.length) return this.stop("There is no file in it.", "");
    if (files.length > limits.instances) return this.stop(`More than ${limits.instances} files at once. Send them in parts.`, "too-many-instances");
    if (total > limits.bytes) return this.stop(`${size(total)} is more than one upload takes. Send it in parts.`, "request-too-large");
    const form = new FormData();
    for (const { file, name } of files) form.append("files", file, name);
    const request = new XMLHttpRequest();
    const started = performance.now();
    this.state("run", "Sending");
    this.at("after").hidden = false;
    const cancel = this.at("cancel");
    cancel.hidden = false;
    cancel.addEventListener("click", () => request.abort());
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      this.at("bar").value = Math.round((event.loaded / event.total) * 100);
      const rate = event.loaded / Math.max(0.2, (performance.now() - started) / 1000);
      this.set("line", `${size(event.loaded)} of ${size(event.total)} · ${count(files.length, "file")} · ${size(rate)} a second`);
    });
    request.upload.addEventListener("load", () => {
      this.state("run", "Storing");
      this.at("bar").removeAttribute("value");
      this.set("line", "Everything has arrived; it is being checked and made durable.");
    });
    request.addEventListener("load", () => this.answered(request));
    request.addEventListener("error", () => this.stop("The connection broke. What was acknowledged is safe; send it again: duplicates harm nothing.", ""));
    request.addEventListener("abort", () => this.stop("Canceled. Nothing of it was stored.", ""));
    request.open("POST", ADDRESS);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "text";
    request.send(form);
    return undefined;
  }

  answered(request) {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* not ours */ }
    if (request.status === 401) {
      location.assign("/sign-in?next=/upload");
      return;
    }
    if (!Array.isArray(answer.files)) {
      this.stop(sentence(answer.detail ?? answer.title ?? "The hub did not take it"), answer.code ?? "");
      return;
    }
    this.finished();
    const kinds = { accepted: [], duplicate: [], refused: [] };
    for (const file of answer.files) kinds[!file.stored ? "refused" : file.known ? "duplicate" : "accepted"].push(file);
    const { accepted, duplicate, refused } = kinds;
    const all = answer.files.length;
    this.state(refused.length === all ? "bad" : refused.length ? "warn" : "good",
      refused.length === all ? "Refused" : refused.length ? "Stored in part" : "Stored");
    const said = [accepted.length && `${accepted.length} accepted`, duplicate.length && `${duplicate.length} already here`, refused.length && `${refused.length} refused`].filter(Boolean);
    this.set("line", "");
    const tally = this.at("tally");
    for (const [tone, text] of [["good", accepted.length && `${accepted.length} accepted`], ["quiet", duplicate.length && `${duplicate.length} already here`]]) {
      if (text) tally.append(item(tone, text));
    }
    for (const [code, number] of Object.entries(Object.groupBy(refused, (file) => file.code ?? "refused"))) {
      const entry = item("bad", `${number.length} refused: `);
      entry.firstChild.append(explained(code));
      tally.append(entry);
    }
    this.rows(answer.files);
    const studies = answer.studies ?? [];
    const open = this.at("open");
    this.at("after").hidden = studies.length === 0;
    if (studies.length === 1) {
      open.href = `/studies/${encodeURIComponent(studies[0])}`;
      open.hidden = false;
    } else if (studies.length > 1) {
      open.href = "/studies";
      open.textContent = `See ${count(studies.length, "study").replace("studys", "studies")}`;
      open.hidden = false;
    }
    spoken.textContent = `${this.at("name").textContent}: ${said.join(", ")}`;
  }

  rows(files) {
    const body = this.at("rows");
    const order = [...files].sort((one, other) => Number(one.stored) - Number(other.stored));
    for (const file of order.slice(0, ROWS_SHOWN_MAX)) {
      const row = document.createElement("tr");
      const name = document.createElement("td");
      name.textContent = file.name || "(no name)";
      const outcome = document.createElement("td");
      outcome.append(file.stored ? (file.known ? "already here " : "accepted ") : "refused ");
      if (file.code) outcome.append(explained(file.code));
      row.append(name, outcome);
      body.append(row);
    }
    if (order.length > ROWS_SHOWN_MAX) {
      const row = body.insertRow();
      const cell = row.insertCell();
      cell.colSpan = 2;
      cell.textContent = `and ${order.length - ROWS_SHOWN_MAX} more`;
    }
    const details = this.at("details");
    details.hidden = false;
    details.open = files.length <= 8;
  }

  finished() {
    this.at("bar").hidden = true;
    this.at("cancel").hidden = true;
    this.at("after").hidden = true;
  }

  stop(text, code) {
    this.finished();
    this.state("bad", "Not stored");
    const line = this.at("line");
    line.textContent = `${text} `;
    if (code) line.append(explained(code));
    spoken.textContent = `${this.at("name").textContent}: ${text}`;
  }
}

function item(tone, text) {
  const entry = document.createElement("li");
  const pill = document.createElement("span");
  pill.className = `pill ${tone}`;
  pill.append(text);
  entry.append(pill);
  return entry;
}

function explained(code) {
  const link = document.createElement("a");
  link.href = `/docs/errors/${encodeURIComponent(code)}`;
  link.target = "_blank";
  link.rel = "noopener";
  link.textContent = code;
  return link;
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

function titleOf(files) {
  const folder = files[0]?.name.includes("/") ? files[0].name.split("/")[0] : "";
  if (folder && files.every(({ name }) => name.startsWith(`${folder}/`))) return folder;
  return files.length === 1 ? files[0].name : count(files.length, "file");
}

function begin(files) {
  if (!files.length) return;
  new Upload(titleOf(files)).send(files);
}

for (const id of ["files", "folder"]) {
  const field = document.getElementById(id);
  field.addEventListener("change", () => {
    begin([...field.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
    field.value = "";
  });
}

let depth = 0;
const over = (on) => drop.classList.toggle("over", on);
document.addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; over(true); });
document.addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) over(false); });
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  depth = 0;
  over(false);
  try {
    begin(await filesOf(event.dataTransfer.items));
  } catch {
    spoken.textContent = "The browser could not read what was dropped.";
  }
});
