// The page around the proofs: files in, sentences out.
"use strict";

const byId = (id) => document.getElementById(id);
const FILE_BYTES = 4 * 1024 * 1024, LOG_BATCH = 1000;
const files = [];
let turn = 0;

const grouped = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const moment = (ms) => {
  const date = new Date(Number(ms));
  return Number.isNaN(date.getTime()) ? "an impossible time" : date.toISOString().replace("T", " ").replace(/(\.\d+)?Z$/, " UTC");
};

function element(name, text = "", ...classes) {
  const made = document.createElement(name);
  made.textContent = text;
  made.classList.add(...classes);
  return made;
}

function facts(pairs) {
  const list = element("dl", "", "facts");
  for (const [name, value] of pairs) {
    if (value === "" || value === null || value === undefined) continue;
    list.append(element("dt", name), element("dd", String(value)));
  }
  return list;
}

/* What each kind of file says, in words */

const plain = (value) => (value === null ? "nothing" : typeof value === "bigint" ? grouped(value) : String(value));

function legs(body) {
  const table = element("table"), rows = body.get("transfers");
  if (!Array.isArray(rows) || !rows.length) return null;
  const head = table.createTHead().insertRow();
  for (const name of ["What", "From", "To", "Amount"]) head.append(element("th", name));
  const inner = table.createTBody();
  for (const leg of rows) {
    const row = inner.insertRow(), ref = leg.get("post") ?? leg.get("void");
    const what = leg.has("post") ? "takes from a hold" : leg.has("void") ? "releases a hold" : leg.has("timeout_s") ? "holds" : "moves";
    const amount = leg.get("amount");
    const cells = ref ? [what, `hold ${ref[0]}, leg ${ref[1]}`, "", leg.has("void") ? "" : amount === null ? "all of it" : grouped(amount)]
      : [what, leg.get("debit"), leg.get("credit"), grouped(amount)];
    cells.forEach((text, place) => row.append(element("td", text, ...(place === 3 ? ["number"] : []))));
  }
  const scroll = element("div", "", "scroll");
  scroll.tabIndex = 0;
  scroll.append(table);
  return scroll;
}

const SAYS = {
  checkpoint: (found) => [
    `The log stood at ${grouped(found.checkpoint.size)} entries and ${grouped(found.checkpoint.accounts)} accounts.`, [], null],
  entry: ({ said }) => [
    `The entry ${said.id} is number ${grouped(said.seq)} of the log, word for word as shown here.`,
    [["Kind", said.kind], ["Recorded", moment(said.recordedUs / 1000n)],
      ...Array.from(said.body.get("facts") ?? [], ([name, value]) => [name.replaceAll("_", " "), plain(value)])],
    legs(said.body)],
  balance: ({ said, checkpoint }) => [
    `The account ${said.account} had these totals when seal ${checkpoint.seal} was made, in the asset\u2019s smallest unit.`,
    [["Credits posted", grouped(said.credit_posted)], ["Debits posted", grouped(said.debit_posted)],
      ["Balance", (said.credit_posted < said.debit_posted ? "\u2212" : "") + grouped(said.credit_posted < said.debit_posted
        ? said.debit_posted - said.credit_posted : said.credit_posted - said.debit_posted)],
      ["Reserved", grouped(said.debit_pending)], ["Expected", grouped(said.credit_pending)]], null],
  consistency: ({ said, checkpoint }) => [
    `The log of ${grouped(checkpoint.size)} entries begins with the log of ${grouped(said.size)}: nothing of it was changed, removed or put in between.`,
    [["Older root", hex(said.root)], ["Older seal", said.older ? `${said.older.seal}, signed ${moment(said.older.timeMs)}` : "not given: its root alone"]], null],
  claim: ({ said }) => [
    `The account ${said.account} may claim ${grouped(said.cumulative)} in all, in the smallest unit of ${said.asset}.`,
    [["Published by", said.published.id], ["At entry", grouped(said.published.seq)]], null],
};

function signedBy(checkpoint, keys) {
  if (checkpoint.signers.length) return ["good", `Signed by the log\u2019s key ${checkpoint.signers[0].key.slice(0, 16)}\u2026`];
  return ["warn", keys.some((key) => !key.witness)
    ? "None of the public keys you gave signed the checkpoint. Who made it is not known."
    : "You gave no public key of the log: who signed the checkpoint was not looked at."];
}

async function judged(file, keys) {
  if (file.log) return judgedLog(file);
  try {
    const found = await verifyFile(file.text, keys);
    const olderUnsigned = found.kind === "consistency" && found.said.older && !found.said.older.signers.length;
    const [tone, signature] = signedBy(olderUnsigned ? found.said.older : found.checkpoint, keys);
    const [sentence, pairs, table] = SAYS[found.kind](found), at = found.checkpoint;
    const seen = at.witnesses.map((item) => `${item.name}, ${moment(item.at * 1000n)}`).join("; ");
    return {
      tone, found, sentence: tone === "good" ? sentence : `${sentence} But: ${signature.charAt(0).toLowerCase()}${signature.slice(1)}`,
      verdict: tone === "good" ? "Holds" : "Not known who signed",
      pairs: [...pairs, ["Log", at.origin], ["Seal", `${at.seal}, ${moment(at.timeMs)}`], ["Entries sealed", grouped(at.size)],
        ["Root of the log", hex(at.root)], ["Root of the balances", hex(at.stateRoot)], ["Previous seal", at.previous],
        ["Signature", signature], ["Cosigned by", seen || "none of the keys you gave"]], table,
    };
  } catch (error) {
    return refusal(error);
  }
}

function refusal(error) {
  const verdict = error instanceof Fails ? "Does not hold" : error instanceof Unreadable ? "Cannot be read" : "Could not be checked";
  return { tone: "bad", verdict, sentence: `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`, pairs: [] };
}

async function judgedLog(file) {
  const wanted = new Map();
  for (const other of files) {
    const at = other.verdict?.found?.checkpoint;
    if (at && at.signers.length) wanted.set(at.size, at);
  }
  const tree = new LogTree(), seen = [];
  let rest = "", batch = [], expected = 1n;
  const take = async () => {
    for (let start = 0; start < batch.length;) {
      const next = [...wanted.keys()].filter((size) => size > tree.size).sort((a, b) => (a < b ? -1 : 1))[0];
      const many = next === undefined ? batch.length - start : Number(next - tree.size);
      await tree.add(batch.slice(start, start + many));
      start += many;
      if (tree.size === next) seen.push([wanted.get(next), await tree.root()]);
    }
    batch = [];
    byId("progress").textContent = `${file.name}: ${grouped(tree.size)} entries`;
  };
  try {
    const reader = file.blob.stream().pipeThrough(new TextDecoderStream("utf-8", { fatal: true })).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      const lines = (rest + (value ?? "")).split("\n");
      rest = done ? "" : lines.pop();
      for (const line of lines) {
        if (line === "") continue;
        if (!line.endsWith(`,"seq":${expected}}`)) throw new Fails(`line ${expected} is not entry ${expected}: a line is missing, doubled or out of order`);
        expected += 1n;
        batch.push(line);
        if (batch.length >= LOG_BATCH) await take();
      }
      if (done) break;
    }
    await take();
    const wrong = seen.filter(([at, root]) => !same(at.root, root));
    if (wrong.length) throw new Fails(`the first ${grouped(wrong[0][0].size)} entries do not have the root that seal ${wrong[0][0].seal} signed: an entry was changed`);
  } catch (error) {
    return refusal(error instanceof TypeError ? new Unreadable("the log is not UTF-8") : error);
  } finally {
    byId("progress").textContent = "";
  }
  const root = hex(await tree.root());
  if (!seen.length) {
    return { tone: "warn", verdict: "Not compared", pairs: [["Entries", grouped(tree.size)], ["Root", root]],
      sentence: "The log was read through. Add a checkpoint of at most this size, and the log\u2019s public keys, to compare its root." };
  }
  return { tone: "good", verdict: "Holds", pairs: [["Entries", grouped(tree.size)], ["Root", root], ["Compared with", seen.map(([at]) => `seal ${at.seal}`).join(", ")]],
    sentence: `Every one of the first ${grouped(seen.at(-1)[0].size)} entries is the one that was sealed.` };
}

// Two checkpoints of one log and size with two roots: the log showed two histories.
function split() {
  const known = new Map();
  for (const file of files) {
    const at = file.verdict?.found?.checkpoint, older = file.verdict?.found?.said?.older;
    for (const one of [at, older]) {
      if (!one || !one.signers.length) continue;
      const name = `${one.origin}\n${one.size}`, before = known.get(name);
      if (before && !same(before.root, one.root)) return one;
      known.set(name, one);
    }
  }
  return null;
}

/* The page */

function shown(file) {
  const { tone, verdict, sentence, pairs, table } = file.verdict;
  const card = element("article", "", "card", "result", tone), head = element("header");
  card.dataset.tone = tone;
  head.append(element("span", verdict, "pill", tone), element("h3", file.name));
  const away = element("button", "Remove", "plain");
  away.type = "button";
  away.setAttribute("aria-label", `Remove ${file.name}`);
  away.addEventListener("click", () => { files.splice(files.indexOf(file), 1); refresh(); });
  head.append(away);
  card.append(head, element("p", sentence, "sentence"));
  if (table) card.append(table);
  if (pairs.length) card.append(facts(pairs));
  return card;
}

async function givenKeys() {
  const keys = [], wrong = [];
  for (const line of byId("keys").value.split("\n").map((text) => text.trim())) {
    if (!line || line.startsWith("#")) continue;
    try { keys.push(await parseKey(line)); } catch (error) { wrong.push(error.message); }
  }
  const own = keys.filter((key) => !key.witness).length, seen = keys.length - own;
  byId("keys-said").textContent = wrong.length ? wrong.join("; ") : keys.length
    ? `${own} of the log, ${seen} of witnesses` : "None yet: files are read, but who signed them is not known.";
  byId("keys-said").className = wrong.length ? "bad-text small" : "muted small";
  return keys;
}

async function refresh() {
  const mine = turn += 1;
  const keys = await givenKeys();
  for (const file of [...files].sort((a, b) => Number(a.log) - Number(b.log))) {
    file.verdict = await judged(file, keys);
    if (mine !== turn) return;
  }
  const two = split();
  byId("alarm").hidden = !two;
  if (two) byId("alarm-text").textContent = `Two checkpoints of ${grouped(two.size)} entries are signed by this log and have different roots. The log has shown two histories: keep both files, they are the evidence.`;
  byId("results").replaceChildren(...files.map(shown));
  const bad = files.filter((file) => file.verdict.tone === "bad").length, unsure = files.filter((file) => file.verdict.tone === "warn").length;
  byId("bar").hidden = !files.length;
  byId("summary").textContent = !files.length ? "" : `${files.length} file${files.length === 1 ? "" : "s"}: ${files.length - bad - unsure} hold, ${bad} do not, ${unsure} undecided.`;
  document.body.dataset.done = String(mine);
}

async function take(list) {
  for (const blob of list) {
    const start = await blob.slice(0, 200).text();
    const isLog = /^\{"body":\{/.test(start);
    if (!isLog && blob.size > FILE_BYTES) {
      files.push({ name: blob.name, text: "", log: false });
      continue;
    }
    if (!isLog && /^[^+\s]+\+[0-9a-f]{8}\+/.test(start)) {
      const before = byId("keys").value.trimEnd();
      byId("keys").value = `${before}${before ? "\n" : ""}${(await blob.text()).trim()}\n`;
      continue;
    }
    let text = "";
    if (!isLog) {
      try { text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await blob.arrayBuffer()); } catch { text = ""; }
    }
    files.push({ name: blob.name, text, log: isLog, blob });
  }
  await refresh();
}

byId("files").addEventListener("change", async (event) => { await take([...event.target.files]); event.target.value = ""; });
byId("keys").addEventListener("input", refresh);
byId("clear").addEventListener("click", () => { files.length = 0; refresh(); });
const drop = byId("drop");
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); take([...event.dataTransfer.files]); });
if (!globalThis.crypto?.subtle) {
  byId("alarm").hidden = false;
  byId("alarm-text").textContent = "This browser gives no cryptography to this page. Open it over https, from this machine, or as a file.";
}
refresh().then(() => { document.body.dataset.ready = "true"; });
