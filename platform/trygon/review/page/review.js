"use strict";
const byId = id => document.getElementById(id);
const percent = p => (p >= 0.995 ? "> 99 %" : p < 0.01 ? "< 1 %" : `${Math.round(100 * p)} %`);
const KINDS = { human: "Person", vehicle: "Vehicle", blank: "Blank", unknown: "Unknown", animal: "Unnamed animal" };
const AHEAD = 3;

let queue = [];        // events to come, as the server lists them
let now = null;        // the event that is shown, as the server told it
let place = -1;        // where it stands in the order of the view
let frame = 0;         // which of its frames
let chosen = new Set(); // observations that are named alone
let counted = false;   // whether the count was changed by hand
let asked = 0;         // how often an event was asked for: late answers are dropped
let undoable = [];     // {event, place, reviews}, the last one at the end
let waiting = false;
let found = [], marked = -1, typing = 0;
const kept = new Map(); // events that were asked for ahead

function make(tag, attributes = {}, ...children) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children.filter(child => child !== null && child !== ""));
  return node;
}

async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  let response;
  try { response = await fetch(path, options); } catch { throw new Error("The server does not answer. Is `trygon review` still running?"); }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(answer.problem || `The server answered ${response.status}.`), { status: response.status });
  return answer;
}

function complain(error) { byId("message").textContent = error ? error.message : ""; }
function announce(text) { byId("said").textContent = text; }

function nameOf(label) { return label.common || label.scientific || KINDS[label.type] || label.type; }

function scientific(label) {
  return make(label.rank === "species" || label.rank === "genus" ? "i" : "span", { className: "soft" }, label.scientific);
}

function view() {
  const query = new URLSearchParams();
  for (const name of ["state", "label", "deployment", "sure", "order"]) query.set(name, byId(name).value);
  return query;
}

// ---- which event ----

async function fill(after, back = false) {
  const query = view();
  query.set("after", after);
  if (back) query.set("back", "1");
  query.set("limit", back ? "1" : "10");
  const page = await ask(`/api/events?${query}`);
  progress(page);
  return page;
}

function progress(page) {
  byId("progress").max = page.num_events || 1;
  byId("progress").value = page.num_reviewed;
  byId("progress-text").textContent = `${page.num_reviewed.toLocaleString()} of ${page.num_events.toLocaleString()} events reviewed`;
}

async function start() {
  queue = [];
  kept.clear();
  place = -1;
  await next();
}

async function next() {
  try {
    if (!queue.length) queue = (await fill(place)).events;
    if (!queue.length && place >= 0 && byId("state").value === "unreviewed") {
      const skipped = (await fill(-1)).events;
      if (skipped.length) return finish(true);
    }
    const coming = queue.shift();
    if (!coming) return finish(false);
    await show(coming);
    for (const later of queue.slice(0, AHEAD)) ahead(later.id);
  } catch (error) { complain(error); }
}

async function previous() {
  try {
    const page = await fill(place, true);
    if (!page.events.length) return announce("This is the first event.");
    queue = [];
    await show(page.events[0]);
  } catch (error) { complain(error); }
}

function ahead(id) {
  if (kept.has(id)) return;
  const answer = ask(`/api/events/${id}`);
  kept.set(id, answer);
  answer.then(event => { if (event.frames.length) new Image().src = pictureOf(event.frames[best(event)], 960); }, () => kept.delete(id));
}

async function show(coming, fresh = false) {
  const mine = ++asked;
  const event = await (!fresh && kept.get(coming.id) || ask(`/api/events/${coming.id}`));
  kept.delete(coming.id);
  if (mine !== asked) return;
  now = event;
  place = coming.place;
  frame = best(now);
  chosen = new Set();
  counted = false;
  complain(null);
  for (const name of ["life_stage", "sex", "find"]) byId(name).value = "";
  close();
  document.querySelector("main").classList.remove("empty");
  byId("done").hidden = true;
  draw();
  const labels = now.labels.map(label => `${label.count} ${nameOf(label)}`).join(", ");
  announce(`${now.deployment}, ${now.start || "no date"}, ${now.num_frames} frames: ${labels}${now.reviewed ? ", reviewed" : ""}`);
}

function finish(skipped) {
  now = null;
  document.querySelector("main").classList.add("empty");
  byId("done").hidden = false;
  byId("done-text").textContent = skipped ? "Some events of this view were skipped. " : "No further event fits this view. Choose another one above.";
  if (skipped) byId("done-text").append(make("button", { className: "main", onclick: start }, "Go through them again"));
  announce("Nothing is left here");
}

/** The frame to show first: the one with most in it. */
function best(event) {
  const weight = frame => frame.observations.filter(it => it.box && !it.set_aside).length;
  let first = 0;
  event.frames.forEach((it, at) => { if (weight(it) > weight(event.frames[first])) first = at; });
  return first;
}

// ---- what it shows ----

const pictureOf = (it, width) => `/frames/${it.media}.jpg?width=${width}${it.number === null ? "" : `&number=${it.number}`}`;

function draw() {
  drawFrame();
  drawStrip();
  drawLabels();
  drawScope();
  byId("alternatives").replaceChildren(...now.alternatives.map((taxon, at) => make("li", {}, make("button",
    { onclick: () => name("animal", taxon.key) }, make("kbd", {}, String(at + 1)),
    make("span", {}, nameOf(taxon), " ", taxon.common ? scientific(taxon) : ""), make("small", {}, percent(taxon.share))))));
  byId("lineage").replaceChildren(...now.lineage.flatMap((taxon, at) => [at ? " › " : "",
    make("button", { title: `${taxon.rank}: name it so`, onclick: () => name("animal", taxon.key) }, taxon.scientific)]));
}

function drawLabels() {
  byId("where").textContent = `${now.deployment} · ${now.start || "no date"} · ${now.num_frames} frame${now.num_frames === 1 ? "" : "s"}`;
  byId("labels").replaceChildren(...now.labels.map(label => make("div", { className: "label" },
    make("span", {}, make("b", {}, label.count > 1 ? `${label.count} × ` : "", nameOf(label)), " ", label.common ? scientific(label) : "",
      " ", make("small", {}, label.rank && label.rank !== "species" ? label.rank : "")),
    make("span", { className: "sure" }, label.reviewed_by.length ? `by ${label.reviewed_by.join(", ")}` : label.probability ? percent(label.probability) : ""))));
  if (!counted) byId("count").value = now.labels[0] && now.labels[0].type !== "blank" ? now.labels[0].count : "";
}

function drawScope() {
  const num = chosen.size;
  byId("scope").textContent = num ? `A name is given to the ${num} chosen only. Esc: to the whole event again.`
    : now.labels.some(label => label.type === "animal") ? "A name is given to all animals of the event." : "A name is given to the whole event.";
  byId("confirm").disabled = num > 0;
}

function drawFrame() {
  const it = now.frames[frame], picture = byId("picture"), boxes = byId("boxes");
  if (!it) return;
  byId("gone").hidden = true;
  picture.hidden = false;
  picture.onerror = () => { picture.hidden = true; byId("gone").hidden = false; };
  picture.src = pictureOf(it, devicePixelRatio * picture.clientWidth > 960 ? 1920 : 960);
  picture.alt = `Frame ${now.first_frame + frame + 1} of ${now.num_frames}`;
  const width = it.width || 4, height = it.height || 3;
  boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
  boxes.replaceChildren(...it.observations.filter(one => one.box).flatMap(one => drawBox(one, width, height)));
  byId("caption").textContent = `${it.path}${it.number === null ? "" : `, frame ${it.number}`}${it.time ? ` · ${it.time}` : ""}`;
}

function drawBox(one, width, height) {
  const [left, top, wide, high] = one.box;
  const rect = kind => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const values = { x: left * width, y: top * height, width: wide * width, height: high * height, class: kind };
    for (const [key, value] of Object.entries(values)) node.setAttribute(key, value);
    return node;
  };
  const kinds = ["box", one.set_aside && "aside", one.reviewed_by && "said", chosen.has(one.id) && "chosen"];
  const node = rect(kinds.filter(Boolean).join(" "));
  const told = `${nameOf(one.label)}${one.probability ? `, ${percent(one.probability)}` : ""}${one.set_aside ? ", set aside by the run" : ""}${one.reviewed_by ? `, by ${one.reviewed_by}` : ""}`;
  node.setAttribute("tabindex", "0");
  node.setAttribute("role", "checkbox");
  node.setAttribute("aria-checked", chosen.has(one.id));
  node.setAttribute("aria-label", told);
  node.dataset.id = one.id;
  const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
  title.textContent = told;
  node.append(title);
  node.onclick = () => choose([one.id]);
  node.onkeydown = event => {
    if (event.key !== " ") return;
    event.preventDefault();
    choose([one.id]);
    byId("boxes").querySelector(`[data-id="${one.id}"]`).focus();
  };
  return [rect("under"), node];
}

function drawStrip() {
  const cells = now.frames.map((it, at) => {
    const num = it.observations.filter(one => one.box && !one.set_aside).length;
    const button = make("button", { onclick: () => turn(at - frame), title: it.path },
      make("img", { src: pictureOf(it, 240), alt: `Frame ${now.first_frame + at + 1}, ${num} boxes`, loading: "lazy" }),
      num ? make("span", { className: "num" }, String(num)) : "");
    return make("li", {}, button);
  });
  const missing = now.num_frames - now.first_frame - now.frames.length;
  if (now.first_frame) cells.unshift(make("li", {}, make("button", { onclick: () => leaf(Math.max(0, now.first_frame - 60)) }, "‹ earlier")));
  if (missing > 0) cells.push(make("li", {}, make("button", { onclick: () => leaf(now.first_frame + now.frames.length) }, `${missing} more ›`)));
  byId("strip").replaceChildren(...cells);
  markFrame();
}

function markFrame() {
  [...byId("strip").querySelectorAll("img")].forEach((image, at) => {
    image.parentElement.setAttribute("aria-current", at === frame);
    if (at === frame) image.parentElement.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}

async function leaf(first) {
  const mine = ++asked;
  try {
    const event = await ask(`/api/events/${now.id}?first=${first}`);
    if (mine !== asked) return;
    now = event;
    frame = 0;
    draw();
  } catch (error) { complain(error); }
}

function turn(by) {
  frame = Math.max(0, Math.min(now.frames.length - 1, frame + by));
  drawFrame();
  markFrame();
}

function choose(ids) {
  const all = ids.every(id => chosen.has(id));
  for (const id of ids) all ? chosen.delete(id) : chosen.add(id);
  drawFrame();
  drawScope();
}

// ---- what a person says ----

function details() {
  const count = parseInt(byId("count").value, 10);
  const said = { by: byId("by").value.trim() };
  if (counted && count > 0) said.count = count;
  for (const field of ["life_stage", "sex"]) if (byId(field).value) said[field] = byId(field).value;
  return said;
}

async function say(body, whole) {
  if (waiting || !now) return;
  waiting = true;
  const event = now, at = place;
  try {
    const answer = await ask("/api/reviews", body);
    undoable.push({ event: event.id, place: at, reviews: answer.reviews });
    progress(answer);
    if (whole) await next();
    else await show({ id: event.id, place: at }, true);
  } catch (error) {
    if (error.status === 409) await show({ id: event.id, place: at }, true).catch(() => {});
    complain(error);
  } finally { waiting = false; }
}

function name(type, taxon = "") {
  if (!now) return;
  close();
  const body = { type, taxon, ...details() };
  if (type === "blank") delete body.count;
  const shown = { event: now.id, version: now.version };
  if (chosen.size) return say({ ...body, ...shown, observations: [...chosen] }, false);
  return say({ ...body, ...shown }, true);
}

function confirm() {
  if (!now || chosen.size) return;
  const said = details();
  if (!said.count && !said.life_stage && !said.sex) return say({ confirm: true, event: now.id, version: now.version, by: said.by }, true);
  const label = now.labels[0], own = now.lineage.at(-1);
  if (now.labels.length > 1 || label.type === "animal" && label.scientific && (!own || own.scientific !== label.scientific))
    return complain(new Error("This event has more than one name: choose the boxes first that the count, stage or sex is of."));
  return name(label.type, label.type === "animal" && own ? own.key : "");
}

async function undo() {
  if (waiting) return;
  const last = undoable.pop();
  if (!last) return announce("There is nothing to undo.");
  waiting = true;
  try {
    progress(await ask("/api/undo", { reviews: last.reviews, by: byId("by").value.trim() }));
    queue = [];
    kept.clear();
    await show({ id: last.event, place: last.place }, true);
    announce("Undone");
  } catch (error) { undoable.push(last); complain(error); } finally { waiting = false; }
}

// ---- any taxon ----

function close() {
  found = [];
  marked = -1;
  byId("found").hidden = true;
  byId("find").setAttribute("aria-expanded", "false");
  byId("find").removeAttribute("aria-activedescendant");
}

async function look() {
  const mine = ++typing, text = byId("find").value;
  if (!text.trim()) return close();
  try {
    const answer = await ask(`/api/taxa?q=${encodeURIComponent(text)}`);
    if (mine !== typing) return;
    found = answer;
    marked = found.length ? 0 : -1;
    byId("found").replaceChildren(...found.map((taxon, at) => make("li", { id: `taxon-${at}`, role: "option", onmousedown: event => { event.preventDefault(); pick(at); } },
      taxon.common ? `${taxon.common} ` : "", scientific(taxon), make("small", {}, `${taxon.rank}${taxon.within ? ` · ${taxon.within}` : ""}`))));
    if (!found.length) byId("found").replaceChildren(make("li", {}, "The labels hold no such taxon"));
    byId("found").hidden = false;
    byId("find").setAttribute("aria-expanded", "true");
    mark();
  } catch (error) { complain(error); }
}

function mark() {
  [...byId("found").children].forEach((item, at) => {
    item.setAttribute("aria-selected", at === marked);
    if (at === marked) item.scrollIntoView({ block: "nearest" });
  });
  if (marked >= 0) byId("find").setAttribute("aria-activedescendant", `taxon-${marked}`);
}

function pick(at) {
  const taxon = found[at];
  if (!taxon) return;
  byId("find").value = "";
  byId("find").blur();
  name("animal", taxon.key);
}

byId("find").oninput = look;
byId("find").onblur = close;
byId("find").onkeydown = event => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && found.length) { marked = (marked + step + found.length) % found.length; mark(); event.preventDefault(); }
  else if (event.key === "Enter") { event.preventDefault(); pick(marked); }
  else if (event.key === "Escape") { byId("find").value = ""; byId("find").blur(); }
  event.stopPropagation();
};

// ---- more like this ----

let source = null;

async function alike() {
  if (!now) return;
  const boxes = now.frames[frame].observations.filter(one => one.box);
  source = boxes.find(one => chosen.has(one.id)) || boxes.find(one => !one.set_aside) || boxes[0];
  if (!source) return complain(new Error("This frame has no box to compare others with."));
  byId("alike-text").textContent = "Looking…";
  byId("alike-grid").replaceChildren();
  byId("alike-apply").disabled = true;
  byId("alike-dialog").showModal();
  try {
    const hits = await ask(`/api/alike/${source.id}`);
    byId("alike-text").textContent = hits.length ? "Animals of other events, the most alike first. Choose those that are the same." : "No other event holds anything.";
    byId("alike-grid").replaceChildren(...hits.map(hit => make("label", {},
      make("img", { src: `/crops/${hit.id}.jpg`, alt: "", loading: "lazy" }),
      make("span", {}, checkbox(hit), make("div", { className: "told", title: hit.deployment },
        `${nameOf(hit.label)}${hit.reviewed_by ? ` (by ${hit.reviewed_by})` : ""}, ${hit.cosine.toFixed(2)}, ${hit.deployment}`)))));
    countAlike();
  } catch (error) { byId("alike-text").textContent = error.message; }
}

function checkbox(hit) {
  const box = make("input", { type: "checkbox", value: hit.id, onchange: countAlike });
  box.dataset.reviewed = hit.reviewed_by || "";
  return box;
}

const alikeBoxes = () => [...byId("alike-grid").querySelectorAll("input")];

function countAlike() {
  const num = alikeBoxes().filter(box => box.checked).length;
  byId("alike-apply").disabled = !num;
  byId("alike-apply").textContent = `Name the ${num} chosen: ${nameOf(source.label)}`;
}

async function applyAlike() {
  const observations = alikeBoxes().filter(box => box.checked).map(box => box.value);
  try {
    const answer = await ask("/api/reviews", { observations, as: source.id, by: byId("by").value.trim() });
    undoable.push({ event: now.id, place, reviews: answer.reviews });
    progress(answer);
    queue = [];
    kept.clear();
    byId("alike-dialog").close();
    announce(`${observations.length} named ${nameOf(source.label)}`);
  } catch (error) { byId("alike-text").textContent = error.message; }
}

byId("alike-apply").onclick = applyAlike;
for (const [id, value] of [["alike-all", true], ["alike-none", false]])
  byId(id).onclick = () => { for (const box of alikeBoxes()) box.checked = value && !box.dataset.reviewed; countAlike(); };

// ---- keys and buttons ----

function count(by) {
  counted = true;
  byId("count").value = Math.max(1, (parseInt(byId("count").value, 10) || 0) + by);
  announce(`Count ${byId("count").value}`);
}

const ACTIONS = {
  Enter: confirm, s: () => next(), p: previous, z: undo, m: alike, "?": () => byId("help-dialog").showModal(),
  "/": () => byId("find").focus(), b: () => name("blank"), h: () => name("human"), v: () => name("vehicle"), u: () => name("unknown"),
  ArrowLeft: () => turn(-1), ArrowRight: () => turn(1), "+": () => count(1), "=": () => count(1), "-": () => count(-1),
  f: () => choose(now.frames[frame].observations.map(one => one.id)),
  Escape: () => { chosen = new Set(); drawFrame(); drawScope(); },
};

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const tag = event.target.tagName;
  if (tag === "INPUT" || tag === "SELECT" || tag === "BUTTON" && (event.key === "Enter" || event.key === " ")) return;
  if (!byId("keys").checked && event.key.length === 1) return;
  const digit = parseInt(event.key, 10);
  const alternative = now && digit >= 1 && now.alternatives[digit - 1];
  const action = alternative ? () => name("animal", alternative.key) : ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || !now && !["z", "p", "?"].includes(event.key)) return;
  event.preventDefault();
  action();
});

for (const [id, action] of Object.entries({ confirm, skip: () => next(), undo, alike, back: previous, help: ACTIONS["?"],
  "help-close": () => byId("help-dialog").close(), "alike-close": () => byId("alike-dialog").close() })) byId(id).onclick = event => { event.currentTarget.blur(); action(); };
for (const button of document.querySelectorAll("[data-type]")) button.onclick = () => { button.blur(); name(button.dataset.type); };
for (const id of ["state", "label", "deployment", "sure", "order"]) byId(id).onchange = start;
byId("filters").onsubmit = event => event.preventDefault();
byId("count").oninput = () => { counted = true; };
byId("by").onchange = () => { try { localStorage.setItem("by", byId("by").value); } catch { /* a browser that keeps nothing */ } };

async function open() {
  try {
    const run = await ask("/api/run");
    byId("title").textContent = run.title;
    document.title = `${run.title} · review`;
    let by = "";
    try { by = localStorage.getItem("by"); } catch { /* a browser that keeps nothing */ }
    byId("by").value = by || run.reviewer;
    const twice = name => run.names.some(other => other !== name && nameOf(other) === nameOf(name));
    const within = name => twice(name) && name.within ? `, ${name.within}` : "";
    for (const name of run.names) byId("label").append(make("option", { value: name.number }, `${nameOf(name)}${within(name)} (${name.num_events})`));
    for (const deployment of run.deployments) byId("deployment").append(make("option", { value: deployment }, deployment));
    progress(run);
    await start();
  } catch (error) {
    document.querySelector("main").classList.remove("empty");
    complain(error);
  }
}
open();
