"use strict";
// Makes the server's pages live. Every page works without it: it fetches the same pages and changes what differs.
// Pages are parsed by XMLHttpRequest, whose documents run no scripts, so nothing here turns text into markup.

const root = document.documentElement;
const byId = (id) => document.getElementById(id);
root.classList.add("js");

// --- the key ---------------------------------------------------------------------------------------

async function signIn() {
  const key = decodeURIComponent(location.hash.slice(1));
  if (key) history.replaceState(null, "", location.pathname + location.search);
  // Without a key: a link from another site came without the cookie, which this request has.
  const body = new URLSearchParams(key ? { key } : {});
  const reply = await fetch("/session", { method: "POST", body, redirect: "manual" }).catch(() => null);
  if (reply && reply.type === "opaqueredirect") location.replace(location.pathname + location.search);
  else if (key) say("That key is wrong. A dashboard that was started again has a new one.", true);
}

function say(text, isShown) {
  const said = byId("said");
  said.textContent = text;
  said.className = isShown ? "notice bad" : "unseen";
}

// --- fetching pages --------------------------------------------------------------------------------

let fetching = null;

/** Fetch a page, or POST a form. `watch` is given the request, to abort it. */
function get(address, form, watch) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.timeout = 60000;
    request.onload = () => (request.responseXML ? resolve(request) : reject(new Error("no page")));
    request.onerror = request.ontimeout = request.onabort = () => reject(new Error("no answer"));
    request.open(form ? "POST" : "GET", address);
    if (form) request.setRequestHeader("Content-Type", "application/x-www-form-urlencoded");
    request.send(form || null);
    if (watch) watch(request);
  });
}

/** Show the page at `address`. `isLive`: it is the same page, with what has changed since. */
async function show(address, isLive) {
  if (fetching) fetching.abort();
  let request;
  try {
    request = await get(address, null, (started) => { fetching = started; });
  } catch (error) {
    if (!isLive && error.message !== "no answer") location.assign(address);
    throw error;
  } finally {
    fetching = null;
  }
  const page = request.responseXML;
  if (request.status === 401 || !page.getElementById("main")) return location.reload();
  if (isLive && isBusy()) return void (isStale = true);
  document.title = page.title;
  say("");
  const log = byId("log"), follows = log && log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  for (const part of [".bar nav", ".badge", "#main", ".foot"]) {
    const ours = document.querySelector(part), theirs = page.querySelector(part);
    if (ours && theirs) change(ours, theirs, isLive);
  }
  tick();
  if (log && follows && byId("log") === log) log.scrollTop = log.scrollHeight;
  else if (!isLive) scrollLog();
}

function scrollLog() {
  const log = byId("log");
  if (log && log.dataset.follow !== undefined) log.scrollTop = log.scrollHeight;
}

/** Whether a change would be in the user's way: an open dialog, an input in use, or selected text. */
function isBusy() {
  const active = document.activeElement, selection = getSelection();
  return byId("dialog").open
    || (active && active.matches("#main input:not([type=checkbox]), #main select, #main textarea"))
    || (!selection.isCollapsed && byId("main").contains(selection.anchorNode));
}

// --- changing what differs -------------------------------------------------------------------------

const keyOf = (node) => (node.dataset && node.dataset.key) || node.id || "";

/** Make the element `ours` like `theirs`, which has the same name, without replacing what stays. */
function change(ours, theirs, isLive) {
  for (const { name } of [...ours.attributes]) {
    if (!theirs.hasAttribute(name) && name !== "tabindex") ours.removeAttribute(name);
  }
  for (const { name, value } of theirs.attributes) if (ours.getAttribute(name) !== value) ours.setAttribute(name, value);
  if (!isLive && ours.localName === "input") {
    ours.checked = theirs.hasAttribute("checked");
    if (ours !== document.activeElement) ours.value = theirs.getAttribute("value") || "";
  }
  const wanted = [...theirs.childNodes], kept = new Set(wanted.map(keyOf));
  let at = ours.firstChild;
  const drop = () => { const gone = at; at = at.nextSibling; gone.remove(); };
  for (const want of wanted) {
    const key = keyOf(want);
    let match = null;
    if (key) {
      match = [...ours.children].find((child) => keyOf(child) === key && child.nodeName === want.nodeName);
      // Drop what is gone instead of moving what stays: moving takes the focus away.
      while (match && at && at !== match && !(keyOf(at) && kept.has(keyOf(at)))) drop();
    } else if (at && at.nodeType === want.nodeType && at.nodeName === want.nodeName && !keyOf(at)) match = at;
    if (!match) {
      ours.insertBefore(document.importNode(want, true), at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else ours.insertBefore(match, at);
    if (want.nodeType === Node.ELEMENT_NODE) change(match, want, isLive);
    // Appending keeps what the user has selected.
    else if (match.data !== want.data) {
      if (want.data.startsWith(match.data)) match.appendData(want.data.slice(match.data.length));
      else match.data = want.data;
    }
  }
  while (at) drop();
  if (ours.localName === "select" && !isLive && ours !== document.activeElement) {
    ours.selectedIndex = [...theirs.options].findIndex((option) => option.hasAttribute("selected"));
    if (ours.selectedIndex < 0) ours.selectedIndex = 0;
  }
}

// --- times -----------------------------------------------------------------------------------------

/** Seconds in the server's words: 350ms, 4s, 2m05s, 3h12m, 1d02h, 8d. */
function span(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 0.9995) return `${Math.max(0, Math.trunc(seconds * 1000))}ms`;
  const whole = Math.trunc(seconds + 0.5);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.trunc(whole / 60)}m${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.trunc(whole / 3600)}h${two(Math.trunc(whole / 60) % 60)}m`;
  const hours = Math.trunc((whole + 1800) / 3600);
  return hours < 48 ? `${Math.trunc(hours / 24)}d${two(hours % 24)}h` : `${Math.trunc((hours + 12) / 24)}d`;
}

function tick() {
  if (document.hidden) return;
  const now = Date.now() / 1000;
  for (const time of document.querySelectorAll("time[data-form]")) {
    const form = time.dataset.form, at = Number(time.dataset.at);
    const text = form.replace("{}", span(form.startsWith("in ") ? at - now : now - at));
    if (time.textContent !== text) time.textContent = text;
  }
}

// --- live ------------------------------------------------------------------------------------------
// One tab at a time has a stream: the one that holds a lock. It tells the others. A hidden tab has none.

const channel = "BroadcastChannel" in window ? new BroadcastChannel("queuectl" + location.port) : null;
let going = 0; // Navigations under way, which must not be interrupted.
let stream = null, release = null, refreshing = false, isStale = false, lastRefresh = 0, cost = 0;

function mark(now) {
  const live = byId("live");
  live.hidden = false;
  live.dataset.now = now;
  live.querySelector(".word").textContent = { on: "live", off: "offline", wait: "paused" }[now];
}

function listen() {
  if (document.hidden || stream || release) return;
  if (!navigator.locks) return open();
  navigator.locks.request("queuectl-stream", () => new Promise((done) => {
    release = done;
    if (document.hidden) return leave();
    open();
  }));
}

function open() {
  stream = new EventSource("/events");
  stream.onmessage = () => {
    mark("on");
    changed();
    if (channel) channel.postMessage("changed");
  };
  stream.onerror = () => {
    mark("off");
    if (channel) channel.postMessage("lost");
    if (stream.readyState === EventSource.CLOSED) {
      stream = null;
      if (release) { release(); release = null; }
      setTimeout(listen, 3000);
    }
  };
}

function leave() {
  if (stream) stream.close();
  stream = null;
  if (release) { release(); release = null; }
}

/** Fetch the page again: soon, but at most once a second and a tenth of the time, and never in the user's way. */
function changed() {
  isStale = true;
  if (document.hidden || refreshing) return;
  refreshing = true;
  setTimeout(async () => {
    try {
      if (going) isStale = true;
      else if (isBusy()) mark("wait");
      else if (isStale && !document.hidden) {
        isStale = false;
        const began = lastRefresh = Date.now();
        await show(location.pathname + location.search, true);
        cost = Date.now() - began;
      }
    } catch {
      isStale = true;
    }
    refreshing = false;
    if (!isStale && stream && stream.readyState === EventSource.OPEN) mark("on");
    if (isStale) setTimeout(changed, 1000);
  }, Math.max(0, lastRefresh + Math.max(1000, 10 * cost) - Date.now()));
}

// --- going places ----------------------------------------------------------------------------------

async function go(address, isReplacing) {
  const target = new URL(address, location.href);
  going++;
  try {
    await show(target.pathname + target.search, false);
  } catch {
    return;
  } finally {
    going--;
  }
  history[isReplacing ? "replaceState" : "pushState"](null, "", target);
  if (isReplacing) return;
  const part = target.hash && byId(target.hash.slice(1));
  if (part) part.scrollIntoView();
  else scrollTo(0, 0);
  const heading = document.querySelector("main h1");
  if (heading && !part) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  say(document.title);
}

let typing = 0;

function filter(form) {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const fields = [...new FormData(form)].filter(([, value]) => value !== "");
    go(form.getAttribute("action") + (fields.length ? "?" + new URLSearchParams(fields) : ""), true);
  }, 180);
}

document.addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) return copied(copy);
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (link.origin !== location.origin || link.target || link.getAttribute("href").startsWith("#")) return;
  event.preventDefault();
  if (link.dataset.action !== undefined) ask(link.href, link);
  else if (link.closest("dialog")) { byId("dialog").close(); go(link.href); }
  else go(link.href);
});

async function copied(button) {
  const code = button.closest(".command").querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    say("Copied");
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

// --- asking ----------------------------------------------------------------------------------------

let asker = null;

/** Open the page of an action in the dialog. */
async function ask(address, button) {
  asker = button;
  try {
    fill((await get(address)).responseXML);
  } catch {
    say("No answer. Is the dashboard still running?", true);
  }
}

function fill(page) {
  const dialog = byId("dialog"), part = page.querySelector(".ask") || page.querySelector("main");
  dialog.replaceChildren(document.importNode(part, true));
  if (!dialog.open) dialog.showModal();
  const first = dialog.querySelector("[data-first]")
    || dialog.querySelector("input:not([type=hidden]), textarea") || dialog.querySelector("[data-close], a, button");
  if (first) first.focus();
}

/** Show the command that the form stands for now. */
async function preview(form) {
  const fields = new URLSearchParams(new FormData(form));
  const page = (await get(`${form.getAttribute("action")}?${fields}`)).responseXML;
  for (const part of [".command", ".error"]) {
    const ours = form.closest(".ask").querySelector(part), theirs = page.querySelector(`.ask ${part}`);
    if (ours && theirs) change(ours, theirs, true);
  }
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method === "get") { event.preventDefault(); return filter(form); }
  if (!form.closest("dialog")) return;
  event.preventDefault();
  const button = form.querySelector("[type=submit]");
  if (button.disabled) return;
  button.disabled = true;
  try {
    fill((await get(form.getAttribute("action"), new URLSearchParams(new FormData(form)).toString())).responseXML);
  } catch {
    button.disabled = false;
    say("No answer. Is the dashboard still running?", true);
  }
});

document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (form && form.dataset.filter !== undefined) filter(form);
  else if (form && form.dataset.preview !== undefined) {
    clearTimeout(typing);
    typing = setTimeout(() => preview(form).catch(() => {}), 150);
  }
});

// --- keys ------------------------------------------------------------------------------------------

const SCREENS = { o: "/", j: "/jobs", d: "/dlq", f: "/failures", w: "/workers", s: "/schedules" };
const KEYS = [["/", "search jobs"], ["g o", "overview"], ["g j", "jobs"], ["g d", "dead letters"], ["g s", "schedules"],
  ["g w", "workers"], ["j k", "next and previous row"], ["Enter", "open"], ["t", "dark or light"], ["?", "this help"], ["Esc", "close"]];
let before = "";

function help() {
  const part = document.createElement("div"), keys = document.createElement("dl"), title = document.createElement("h1");
  part.className = "ask";
  keys.className = "keys";
  title.textContent = "Keyboard";
  title.id = "question";
  for (const [key, meaning] of KEYS) {
    const term = document.createElement("dt"), text = document.createElement("dd"), cap = document.createElement("kbd");
    cap.textContent = key;
    text.textContent = meaning;
    term.append(cap);
    keys.append(term, text);
  }
  const close = document.createElement("button");
  close.className = "button";
  close.textContent = "Close";
  close.dataset.close = "";
  part.append(title, keys, close);
  byId("dialog").replaceChildren(part);
  byId("dialog").showModal();
  close.focus();
}

function step(by) {
  const rows = [...document.querySelectorAll("main tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
  const at = rows.indexOf(document.activeElement);
  const next = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + by))];
  if (next) next.focus();
}

function theme() {
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  document.querySelector("meta[name=color-scheme]").content = root.dataset.theme;
  document.cookie = `queuectl-theme=${root.dataset.theme}; SameSite=Strict; Path=/; Max-Age=31536000`;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("dialog").open || event.target.matches("input, select, textarea")) {
    if (event.key === "Escape" && event.target.matches("#main input")) event.target.blur();
    return;
  }
  const key = event.key, was = before;
  before = key === "g" ? "g" : "";
  if (was === "g" && SCREENS[key] && document.querySelector(`.bar nav a[href="${SCREENS[key]}"]`)) go(SCREENS[key]);
  else if (key === "/") byId("search") ? byId("search").focus() : go("/jobs").then(() => byId("search").focus());
  else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
  else if (key === "t") theme();
  else if (key === "?") help();
  else return;
  event.preventDefault();
});

// --- begin -----------------------------------------------------------------------------------------

if (document.querySelector(".sign-in")) signIn();
else {
  if (location.hash.length > 24) history.replaceState(null, "", location.pathname + location.search);
  for (const id of ["theme", "help"]) byId(id).hidden = false;
  byId("theme").addEventListener("click", theme);
  byId("help").addEventListener("click", help);
  const dialog = byId("dialog");
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) { event.preventDefault(); dialog.close(); }
  });
  dialog.addEventListener("close", () => {
    if (dialog.open) return; // It has been opened again already.
    dialog.replaceChildren();
    if (asker && asker.isConnected) asker.focus();
    changed();
  });
  if (channel) channel.onmessage = ({ data }) => {
    if (data === "changed") { mark("on"); changed(); } else mark("off");
  };
  addEventListener("popstate", () => show(location.pathname + location.search, false).catch(() => location.reload()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", listen);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return leave();
    tick();
    changed();
    listen();
  });
  setInterval(tick, 1000);
  setInterval(changed, 15000); // Charts move on, and a worker that is killed writes nothing.
  setInterval(() => { if (document.querySelector("[data-retry]")) changed(); }, 2000);
  scrollLog();
  listen();
}
