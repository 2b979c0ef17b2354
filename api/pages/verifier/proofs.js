// Proofs of a BitHive ledger, checked from files alone: strict JSON, signed notes, RFC 6962 trees. No page, no network.
"use strict";

const FORMAT = "bithive-proof-1", HASH = 32, STEPS = 63;
const utf8 = new TextEncoder();

class Unreadable extends Error {}
class Fails extends Error {}

/* Bytes */

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const same = (a, b) => a.length === b.length && a.every((byte, place) => byte === b[place]);
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

function joined(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) { all.set(part, place); place += part.length; }
  return all;
}

function fromHex(text) {
  if (!/^([0-9a-f]{2})*$/.test(text)) throw new Unreadable("a hash is not hexadecimal");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function fromBase64(text) {
  let raw;
  try { raw = atob(text); } catch { throw new Unreadable("something is not base64"); }
  if (btoa(raw) !== text) throw new Unreadable("base64 has one form, and this is another");
  return Uint8Array.from(raw, (char) => char.charCodeAt(0));
}

function hashOf(text) {
  const bytes = typeof text === "string" ? fromBase64(text) : [];
  if (bytes.length !== HASH) throw new Unreadable("a hash has 32 bytes");
  return bytes;
}

/* JSON as proofs are written: whole numbers, no name twice. Numbers become BigInt, objects become Maps. */

function strictJson(text) {
  let at = 0;
  const bad = (why) => new Unreadable(`this is not JSON as proofs are written: ${why}`);
  const space = () => { while (" \n\r\t".includes(text[at] ?? "x")) at += 1; };
  const word = (name, value) => {
    if (!text.startsWith(name, at)) throw bad(`at character ${at}`);
    at += name.length;
    return value;
  };
  const string = () => {
    const end = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
    end.lastIndex = at;
    const found = end.exec(text);
    if (!found) throw bad("a text does not end");
    at = end.lastIndex;
    const value = JSON.parse(found[0]);
    if (!value.isWellFormed()) throw bad("a text is not Unicode");
    return value;
  };
  const number = () => {
    const form = /-?(?:0|[1-9][0-9]*)/y;
    form.lastIndex = at;
    const found = form.exec(text);
    if (!found || found[0].length > 20 || ".eE".includes(text[form.lastIndex] ?? "x")) throw bad("a number is not whole");
    at = form.lastIndex;
    return BigInt(found[0]);
  };
  const list = (depth) => {
    const items = [];
    at += 1; space();
    if (text[at] === "]") { at += 1; return items; }
    for (;;) {
      items.push(value(depth)); space();
      if (text[at] === "]") { at += 1; return items; }
      word(",");
    }
  };
  const object = (depth) => {
    const members = new Map();
    at += 1; space();
    if (text[at] === "}") { at += 1; return members; }
    for (;;) {
      space();
      const name = string();
      if (members.has(name)) throw bad(`the name ${name} stands twice`);
      space(); word(":");
      members.set(name, value(depth)); space();
      if (text[at] === "}") { at += 1; return members; }
      word(",");
    }
  };
  const value = (depth) => {
    if (depth > 64) throw bad("it is nested too deeply");
    space();
    const first = text[at];
    if (first === "{") return object(depth + 1);
    if (first === "[") return list(depth + 1);
    if (first === "\"") return string();
    if (first === "t") return word("true", true);
    if (first === "f") return word("false", false);
    if (first === "n") return word("null", null);
    return number();
  };
  const found = value(0);
  space();
  if (at !== text.length) throw bad("something follows its end");
  return found;
}

const members = (value, names) => {
  if (!(value instanceof Map)) throw new Unreadable("a part of the proof is not an object");
  if (value.size !== names.length || !names.every((name) => value.has(name))) {
    throw new Unreadable(`a part of the proof does not have exactly the members ${names.join(", ")}`);
  }
  return value;
};
const textOf = (map, name) => {
  const value = map.get(name);
  if (typeof value !== "string") throw new Unreadable(`${name} is not a text`);
  return value;
};
const countOf = (map, name) => {
  const value = map.get(name);
  if (typeof value !== "bigint" || value < 0n || value >= 2n ** 53n) throw new Unreadable(`${name} is not a count`);
  return value;
};

/* Keys and signed notes (c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature) */

async function parseKey(line) {
  const found = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(line);
  if (!found) throw new Unreadable(`not a public key: ${line.slice(0, 60)}`);
  const material = fromBase64(found[3]);
  if (material.length !== 33 || ![1, 4].includes(material[0])) throw new Unreadable("a public key is not Ed25519");
  const id = (await sha256(joined(utf8.encode(`${found[1]}\n`), material))).slice(0, 4);
  if (hex(id) !== found[2]) throw new Unreadable(`the id of the key ${found[1]} is not the id of its bytes: a digit is wrong`);
  return { name: found[1], witness: material[0] === 4, id: found[2], raw: material.slice(1) };
}

async function isSigned(key, message, signature) {
  let known;
  try {
    known = await crypto.subtle.importKey("raw", key.raw, { name: "Ed25519" }, false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") throw new Error("this browser cannot check Ed25519 signatures: use a newer one");
    return false;
  }
  return crypto.subtle.verify({ name: "Ed25519" }, known, signature, message);
}

function parseNote(text) {
  const cut = text.lastIndexOf("\n\n");
  if (cut < 0 || !text.endsWith("\n") || cut + 2 === text.length) throw new Unreadable("a checkpoint is text, an empty line and signatures");
  if (/[\u0000-\u0009\u000b-\u001f]/.test(text)) throw new Unreadable("a checkpoint holds no control characters");
  const signatures = text.slice(cut + 2, -1).split("\n").map((line) => {
    const found = /^\u2014 ([^+\s]+) ([A-Za-z0-9+/=]+)$/.exec(line);
    const bytes = found ? fromBase64(found[2]) : [];
    if (bytes.length <= 4) throw new Unreadable("a line of signature cannot be read");
    return { name: found[1], id: hex(bytes.slice(0, 4)), bytes: bytes.slice(4) };
  });
  if (signatures.length > 64) throw new Unreadable("a checkpoint has too many signatures");
  return { body: text.slice(0, cut + 1), signatures };
}

function parseCheckpoint(body) {
  const count = "(0|[1-9][0-9]{0,15})";
  const form = new RegExp(`^([^\\n]+)\\n${count}\\n([^\\n]+)\\nstate ${count} ([^\\n]+)\\nprevious ([0-9a-f]{64})\\nseal ${count}\\ntime ${count}\\n$`);
  const found = form.exec(body);
  if (!found) throw new Unreadable("this is not a checkpoint of a BitHive ledger");
  return {
    origin: found[1], size: BigInt(found[2]), root: hashOf(found[3]), accounts: BigInt(found[4]),
    stateRoot: hashOf(found[5]), previous: found[6], seal: BigInt(found[7]), timeMs: Number(found[8]),
  };
}

// A checkpoint with who signed it. A line under a key that was given and does not hold condemns the whole.
async function openCheckpoint(text, keys) {
  const note = parseNote(text), said = parseCheckpoint(note.body), signers = [], witnesses = [];
  for (const line of note.signatures) {
    const key = keys.find((item) => item.name === line.name && item.id === line.id);
    if (!key || (!key.witness && key.name !== said.origin)) continue;
    let message = utf8.encode(note.body), signature = line.bytes, at = null;
    if (key.witness) {
      if (signature.length !== 72) throw new Fails(`the cosignature of ${key.name} has the wrong length`);
      at = new DataView(signature.buffer, signature.byteOffset, 8).getBigUint64(0);
      message = utf8.encode(`cosignature/v1\ntime ${at}\n${note.body}`);
      signature = signature.slice(8);
    }
    if (!await isSigned(key, message, signature)) throw new Fails(`the signature of ${key.name} does not hold: the checkpoint was changed, or the key is another`);
    (key.witness ? witnesses : signers).push({ name: key.name, key: hex(key.raw), at });
  }
  return { ...said, signers, witnesses, body: note.body };
}

/* Trees (RFC 6962 section 2.1) */

const leafHash = (content) => sha256(joined(Uint8Array.of(0), content));
const nodeHash = (left, right) => sha256(joined(Uint8Array.of(1), left, right));

function pathOf(map) {
  const steps = map.get("path");
  if (!Array.isArray(steps) || steps.length > STEPS) throw new Unreadable("a path is a list of at most 63 hashes");
  return steps.map(hashOf);
}

async function includes(leaf, index, size, path, root) {
  if (index >= size) return false;
  let node = leaf, place = index, last = size - 1n;
  for (const step of path) {
    if (last === 0n) return false;
    if (place & 1n || place === last) {
      node = await nodeHash(step, node);
      while (!(place & 1n) && place) { place >>= 1n; last >>= 1n; }
    } else {
      node = await nodeHash(node, step);
    }
    place >>= 1n; last >>= 1n;
  }
  return last === 0n && same(node, root);
}

async function extendsTree(old, oldSize, root, size, path) {
  if (oldSize <= 0n || oldSize > size) return false;
  if (oldSize === size) return same(old, root) && path.length === 0;
  const steps = oldSize & (oldSize - 1n) ? [...path] : [old, ...path];
  if (!steps.length) return false;
  let place = oldSize - 1n, last = size - 1n;
  while (place & 1n) { place >>= 1n; last >>= 1n; }
  let oldNode = steps[0], newNode = steps[0];
  for (const step of steps.slice(1)) {
    if (last === 0n) return false;
    if (place & 1n || place === last) {
      [oldNode, newNode] = [await nodeHash(step, oldNode), await nodeHash(step, newNode)];
      while (!(place & 1n) && place) { place >>= 1n; last >>= 1n; }
    } else {
      newNode = await nodeHash(newNode, step);
    }
    place >>= 1n; last >>= 1n;
  }
  return last === 0n && same(oldNode, old) && same(newNode, root);
}

async function included(map, size, root) {
  const leaf = textOf(map, "leaf");
  if (!await includes(await leafHash(utf8.encode(leaf)), countOf(map, "index"), size, pathOf(map), root)) {
    throw new Fails("the path does not lead from the content to the root that the checkpoint names: content, place or path was changed");
  }
  const said = strictJson(leaf);
  if (!(said instanceof Map)) throw new Fails("the content is not an object");
  return said;
}

/* The kinds of proof */

async function entryProof(proof, checkpoint) {
  const said = await included(proof, checkpoint.size, checkpoint.root), body = said.get("body");
  if (!(body instanceof Map) || said.get("seq") !== proof.get("index") + 1n) throw new Fails("the content is not the entry of its place");
  return { id: textOf(body, "id"), kind: textOf(body, "kind"), seq: countOf(said, "seq"), recordedUs: countOf(said, "recorded_us"), body };
}

async function balanceProof(proof, checkpoint) {
  const said = await included(proof, checkpoint.accounts, checkpoint.stateRoot), totals = {};
  for (const name of ["debit_pending", "debit_posted", "credit_pending", "credit_posted"]) {
    const text = textOf(said, name);
    if (!/^[0-9]{1,19}$/.test(text)) throw new Fails("the content is not an account's");
    totals[name] = BigInt(text);
  }
  return { account: textOf(said, "account"), ...totals };
}

async function consistencyProof(proof, checkpoint, keys) {
  const from = proof.get("from");
  let size, root, older = null;
  if (from instanceof Map && from.has("checkpoint")) {
    older = await openCheckpoint(textOf(members(from, ["checkpoint"]), "checkpoint"), keys);
    if (older.origin !== checkpoint.origin) throw new Fails("the two checkpoints are of two logs");
    ({ size, root } = older);
  } else {
    members(from, ["root", "size"]);
    size = countOf(from, "size");
    root = hashOf(from.get("root"));
  }
  if (!await extendsTree(root, size, checkpoint.root, checkpoint.size, pathOf(proof))) {
    throw new Fails("the newer log does not begin with the older one: history was changed");
  }
  return { size, root, older };
}

async function claimProof(proof, checkpoint) {
  const entry = members(proof.get("entry"), ["index", "leaf", "path"]);
  const claim = members(proof.get("claim"), ["index", "leaf", "path", "size"]);
  const published = await entryProof(entry, checkpoint), facts = published.body.get("facts");
  if (published.kind !== "claims.published" || !(facts instanceof Map) || facts.get("count") !== claim.get("size")) {
    throw new Fails("the entry does not publish this tree of claims");
  }
  const said = await included(claim, countOf(claim, "size"), fromHex(textOf(facts, "root")));
  const cumulative = said.get("cumulative");
  if (!/^[0-9]{1,19}$/.test(String(cumulative))) throw new Fails("the content is not a claim");
  return { account: textOf(said, "account"), asset: textOf(said, "asset"), cumulative: BigInt(cumulative), published };
}

const RULES = {
  entry: [["index", "leaf", "path"], entryProof],
  balance: [["index", "leaf", "path"], balanceProof],
  consistency: [["from", "path"], consistencyProof],
  claim: [["claim", "entry"], claimProof],
};

// What a file of a proof or a checkpoint shows. Throws Unreadable when it is none, Fails when it does not show it.
async function verifyFile(text, keys) {
  if (!text.trimStart().startsWith("{")) {
    return { kind: "checkpoint", checkpoint: await openCheckpoint(text, keys) };
  }
  const proof = strictJson(text), kind = proof.get("kind");
  if (proof.get("format") !== FORMAT || typeof kind !== "string" || !Object.hasOwn(RULES, kind)) throw new Unreadable("this is not a proof of a kind that is known here");
  const [names, rule] = RULES[kind];
  members(proof, ["format", "kind", "checkpoint", ...names]);
  const checkpoint = await openCheckpoint(textOf(proof, "checkpoint"), keys);
  return { kind, checkpoint, said: await rule(proof, checkpoint, keys) };
}

// A log's tree, entry by entry: its root after each of `sizes`, from the lines of an exported log.
class LogTree {
  constructor() { this.size = 0n; this.roots = []; }

  async add(lines) {
    const leaves = await Promise.all(lines.map((line) => leafHash(utf8.encode(line))));
    for (const leaf of leaves) {
      let node = leaf;
      for (let size = this.size; size & 1n; size >>= 1n) node = await nodeHash(this.roots.pop(), node);
      this.roots.push(node);
      this.size += 1n;
    }
  }

  async root() {
    let root = this.roots.at(-1);
    for (const left of this.roots.slice(0, -1).reverse()) root = await nodeHash(left, root);
    return root;
  }
}
