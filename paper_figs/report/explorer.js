// The explorer: controls, values, hypotheses and curves of the chosen bounds.
"use strict";
(() => {
  const MOST = 8;
  const STEPS = 1000;
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);
  const chosen = [];
  const values = {};
  const made = new Map();
  let axis = "";
  let speaking = 0;

  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const draw = (tag, attributes, ...children) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const shown = (x) => {
    if (!Number.isFinite(x)) return "no finite value";
    if (Number.isInteger(x) && Math.abs(x) < 1e12) return x.toLocaleString("en-GB");
    const size = Math.abs(x);
    return size !== 0 && (size < 1e-3 || size >= 1e7) ? x.toExponential(4) : String(Number(x.toPrecision(6)));
  };

  // ---- controls: one for each number; the target's widths may be tied to one ----
  const tied = () => byId("tied").checked;
  const spot = (id) => (DATA.controls[id]?.role === "width" && tied() ? "width" : id);
  const facts = (id) =>
    id === "width" ? { symbol: "width", start: 100, low: 1, high: 10000, whole: true, log: true } : DATA.controls[id];
  const value = (id) => {
    const at = spot(id);
    if (!(at in values)) values[at] = facts(at).start;
    return values[at];
  };
  const clamp = (id, x) => {
    const f = facts(id);
    const near = Math.min(f.high, Math.max(f.low, x));
    return f.whole ? Math.round(near) : near;
  };
  const toSlider = (id, x) => {
    const f = facts(id);
    const at = f.log ? Math.log(x / f.low) / Math.log(f.high / f.low) : (x - f.low) / (f.high - f.low);
    return Math.round(STEPS * Math.min(1, Math.max(0, at)));
  };
  const fromSlider = (id, step) => {
    const f = facts(id);
    const t = step / STEPS;
    const x = f.log ? f.low * (f.high / f.low) ** t : f.low + (f.high - f.low) * t;
    return clamp(id, f.whole ? x : Number(x.toPrecision(4)));
  };

  const used = () => {
    const needed = new Map();
    const optional = new Map();
    for (const key of chosen) {
      const bound = DATA.bounds[key];
      const add = (map, name, id) => {
        const at = spot(id);
        if (!map.has(at)) map.set(at, []);
        map.get(at).push([key, name]);
      };
      for (const [name, id] of Object.entries(bound.symbols)) add(needed, name, id);
      for (const [name, id] of Object.entries(bound.conditions)) add(optional, name, id);
    }
    for (const [id, where] of optional) {
      if (needed.has(id)) needed.get(id).push(...where);
    }
    for (const id of needed.keys()) optional.delete(id);
    return { needed, optional };
  };
  const meaning = (where) => {
    for (const [key, name] of where) {
      for (const h of DATA.bounds[key].hypotheses) {
        if (h.needs.length === 1 && h.needs[0] === name && h.text && !["a count", "constant"].includes(h.text)) return h.text;
      }
    }
    return "";
  };
  const template = (id) => byId(id).content.cloneNode(true);

  const build = (id, where, optional) => {
    const f = facts(id);
    const field = `value-${id.replace(/[^A-Za-z0-9]+/g, "-")}`;
    const label = make("label", { for: field });
    const names = [...new Set(where.map(([, name]) => name))];
    if (id === "width") label.append("width of the target ");
    else if (f.role === "depth") label.append("depth of the target ");
    names.forEach((name, i) => label.append(i ? ", " : "", template(`symbol-${name}`)));
    // Greek letters and indices are spelled too, as messages and Python do
    const spelled = names.filter((name) => byId(`symbol-${name}`).content.textContent !== name);
    if (spelled.length && id !== "width") label.append(` ${spelled.join(", ")}`);
    const paper = id.includes(".") ? id.split(".")[0] : "";
    if (paper) label.append(make("span", { class: "paper-key" }, ` of ${paper}`));
    const about = make("span", { class: "about", id: `${field}-about` });
    const open = where.some(([key, name]) => DATA.bounds[key].open.includes(name));
    const said = id === "width" ? "" : meaning(where);
    about.textContent = [
      open ? "the paper leaves it open: your choice" : said,
      optional ? "a condition only: leave it empty to take it for granted" : "",
    ].filter(Boolean).join("; ");
    const number = make("input", { type: "number", step: "any", id: field, "aria-describedby": `${field}-about` });
    if (optional) values[id] = values[id] ?? null;
    else if (values[id] === null) values[id] = f.start;
    number.value = optional ? values[id] ?? "" : value(id);
    const row = make("div", { class: "control", "data-control": id }, label, number);
    let slider = null;
    if (!optional && f.high > f.low) {
      slider = make("input", { type: "range", min: 0, max: STEPS, step: 1, "aria-label": `${label.textContent.trim()}, slider` });
      slider.value = toSlider(id, value(id));
      slider.setAttribute("aria-valuetext", shown(value(id)));
      slider.addEventListener("input", () => {
        values[id] = fromSlider(id, Number(slider.value));
        number.value = values[id];
        slider.setAttribute("aria-valuetext", shown(values[id]));
        number.removeAttribute("aria-invalid");
        refresh();
      });
      row.append(slider);
    }
    row.append(about);
    number.addEventListener("input", () => {
      const x = number.value.trim() === "" ? null : Number(number.value);
      values[id] = x !== null && Number.isFinite(x) ? x : null;
      if (values[id] === null && !optional) number.setAttribute("aria-invalid", "true");
      else number.removeAttribute("aria-invalid");
      if (slider && values[id] !== null) {
        slider.value = toSlider(id, values[id]);
        slider.setAttribute("aria-valuetext", shown(values[id]));
      }
      refresh();
    });
    return row;
  };

  // ---- one bound at one point ----
  const point = (key, id, x) => {
    const bound = DATA.bounds[key];
    const v = {};
    const missing = [];
    const get = (name, control) => (spot(control) === id ? x : value(control));
    for (const [name, control] of Object.entries(bound.symbols)) {
      const at = get(name, control);
      if (at === null || at === undefined) missing.push(name);
      else v[name] = D.of(at);
    }
    for (const [name, control] of Object.entries(bound.conditions)) {
      const at = spot(control) === id ? x : values[spot(control)];
      if (at !== null && at !== undefined) v[name] = D.of(at);
    }
    return { v, missing };
  };
  const evaluate = (key, id = "", x = 0) => {
    const bound = DATA.bounds[key];
    const { v, missing } = point(key, id, x);
    const states = bound.hypotheses.map((h, i) =>
      h.needs.every((name) => name in v) ? (BOUNDS[key].checks[i](v) ? "holds" : "fails") : "open");
    const failed = bound.hypotheses.filter((_, i) => states[i] === "fails");
    if (missing.length) return { states, why: `give ${missing.join(", ")}` };
    if (failed.length) return { states, why: `hypothesis fails: ${failed.map((h) => h.name).join("; ")}`, failed };
    const number = D.num(BOUNDS[key].value(v));
    return Number.isFinite(number) ? { states, number } : { states, why: "no finite value in double precision" };
  };

  // ---- the list of values ----
  const SIGNS = { holds: "✓", fails: "✗", open: "?" };
  const WORDS = { holds: "holds", fails: "fails", open: "not given, taken for granted" };
  const card = (key, i) => {
    const bound = DATA.bounds[key];
    const swatch = draw("svg", { class: `swatch curve c${i}`, width: 34, height: 10, "aria-hidden": "true" },
      draw("path", { d: "M0 5H34" }));
    const output = make("output", { class: "result", "data-bound": key });
    const list = make("ul", { class: "hypotheses" });
    for (const h of bound.hypotheses) list.append(make("li", {}, ""));
    const remove = make("button", { type: "button", class: "no-print", "aria-label": `remove ${key}` }, "Remove");
    remove.addEventListener("click", () => { toggle(key, false); byId("explorer-values").focus(); });
    const head = make("div", { class: "value-head" }, swatch, make("b", {}, key), output, remove);
    const details = make("details", {}, make("summary", {}, "Hypotheses"), list);
    return { box: make("section", { class: "value", "aria-label": key }, head, template(bound.math), details), output, list };
  };
  const update = (key) => {
    const { output, list } = made.get(key);
    const found = evaluate(key);
    output.textContent = found.why === undefined ? shown(found.number) : found.why;
    output.classList.toggle("refused", found.why !== undefined);
    output.value = output.textContent;
    output.dataset.number = found.why === undefined ? String(found.number) : "";
    DATA.bounds[key].hypotheses.forEach((h, i) => {
      const state = found.states[i];
      list.children[i].textContent = `${SIGNS[state]} ${h.name}: ${WORDS[state]}${h.text ? ` (${h.text})` : ""}`;
      list.children[i].className = state;
    });
    return `${key}: ${output.textContent}`;
  };

  // ---- the plot ----
  const ticks = (low, high, log) => {
    if (!log) {
      const step = 10 ** Math.floor(Math.log10((high - low) / 4 || 1));
      const wide = [1, 2, 5, 10].map((m) => m * step).find((s) => (high - low) / s <= 6) || step * 10;
      const found = [];
      for (let t = Math.ceil(low / wide) * wide; t <= high + wide * 1e-9; t += wide) found.push(Number(t.toPrecision(12)));
      return found;
    }
    const first = Math.ceil(Math.log10(low) - 1e-9);
    const last = Math.floor(Math.log10(high) + 1e-9);
    const every = Math.max(1, Math.ceil((last - first) / 6));
    const found = [];
    for (let d = first; d <= last; d += every) found.push(10 ** d);
    if (found.length >= 2) return found;
    const mantissas = [];
    for (let d = first - 1; d <= last + 1; d += 1) for (const m of [1, 2, 5]) mantissas.push(m * 10 ** d);
    const inside = mantissas.filter((t) => t >= low && t <= high);
    return inside.length >= 2 ? inside : [low, high];
  };
  const tickText = (x) => {
    const size = Math.abs(x);
    if (x !== 0 && (size >= 1e5 || size < 1e-3)) return x.toExponential(Number.isInteger(Math.log10(size)) ? 0 : 1).replace("e+", "e");
    return String(Number(x.toPrecision(3)));
  };
  const places = (id) => {
    const f = facts(id);
    const found = [];
    for (let i = 0; i <= 160; i += 1) {
      const t = i / 160;
      const x = f.log ? f.low * (f.high / f.low) ** t : f.low + (f.high - f.low) * t;
      const at = f.whole ? Math.round(x) : x;
      if (!found.length || at > found[found.length - 1]) found.push(at);
    }
    return found;
  };
  const plot = () => {
    const box = byId("plot");
    const width = Math.max(260, Math.round(box.clientWidth || 600));
    const height = width < 420 ? 210 : Math.round(Math.min(420, width * 0.62));
    const xs = axis ? places(axis) : [];
    const curves = chosen.map((key) => xs.map((x) => evaluate(key, axis, x).number ?? NaN));
    const flat = curves.flat().filter(Number.isFinite);
    const log = byId("log").checked && flat.some((y) => y > 0);
    const able = flat.filter((y) => !log || y > 0);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", id: "curves" });
    if (!axis || !able.length) {
      svg.append(draw("title", {}, "nothing to draw"), draw("text", { x: 16, y: 40 },
        chosen.length ? "No curve: hypotheses fail everywhere here." : "Choose bounds to see their curves."));
      box.replaceChildren(svg);
      return;
    }
    let low = able.reduce((a, b) => Math.min(a, b));
    let high = able.reduce((a, b) => Math.max(a, b));
    if (log && high / low > 1e40) low = high / 1e40;
    if (high <= low) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    const left = 58;
    const right = width - 12;
    const top = 10;
    const bottom = height - 44;
    const f = facts(axis);
    const at = (x, a, b, isLog) => (isLog ? Math.log(x / a) / Math.log(b / a) : (x - a) / (b - a));
    const px = (x) => left + (right - left) * at(x, f.low, f.high, f.log);
    const py = (y) => bottom - (bottom - top) * Math.min(1, Math.max(0, at(y, low, high, log)));
    const group = draw("g", { class: "axes" });
    let last = -1e9;
    for (const t of ticks(f.low, f.high, f.log)) {
      group.append(draw("path", { d: `M${px(t)} ${top}V${bottom}`, class: "grid" }));
      if (px(t) - last > 44) {
        group.append(draw("text", { x: px(t), y: bottom + 16, "text-anchor": "middle" }, tickText(t)));
        last = px(t);
      }
    }
    for (const t of ticks(low, high, log)) {
      group.append(draw("path", { d: `M${left} ${py(t)}H${right}`, class: "grid" }),
        draw("text", { x: left - 6, y: py(t) + 4, "text-anchor": "end" }, tickText(t)));
    }
    group.append(draw("text", { x: (left + right) / 2, y: height - 8, "text-anchor": "middle", class: "axis-name" },
      axisName(axis)));
    svg.append(draw("title", {}, `Curves over ${axisName(axis)}: ${chosen.join(", ")}`), group);
    const here = value(axis);
    if (here !== null && here >= f.low && here <= f.high && (here > 0 || !f.log)) {
      svg.append(draw("path", { d: `M${px(here)} ${top}V${bottom}`, class: "here" }));
    }
    curves.forEach((ys, i) => {
      let path = "";
      let pen = false;
      ys.forEach((y, j) => {
        const good = Number.isFinite(y) && (!log || y >= low);
        if (good) path += `${pen ? "L" : "M"}${px(xs[j]).toFixed(1)} ${py(y).toFixed(1)}`;
        pen = good;
      });
      svg.append(draw("path", { d: path || "M0 0", class: `curve c${i}`, "data-bound": chosen[i] }));
      const now = evaluate(chosen[i]).number;
      if (now !== undefined && (!log || now > 0) && now >= low && now <= high && here >= f.low && here <= f.high) {
        svg.append(draw("circle", { cx: px(here), cy: py(now), r: 4.5, class: `dot c${i}` }));
      }
    });
    box.replaceChildren(svg);
  };
  const axisName = (id) => (id === "width" ? "width of the target" : facts(id).role === "depth" ? "L, depth of the target" : id);

  // ---- together ----
  const refresh = () => {
    const said = chosen.map(update);
    plot();
    window.clearTimeout(speaking);
    speaking = window.setTimeout(() => { byId("spoken").textContent = said.join(". "); }, 500);
  };
  const rebuild = () => {
    const { needed, optional } = used();
    const rank = (id) => ["eps", "weight_eps", "delta", "L", "width"].indexOf(id);
    const order = (a, b) => (rank(b) >= 0) - (rank(a) >= 0) || rank(a) - rank(b) || a.localeCompare(b);
    const rows = [...needed.keys()].sort(order).map((id) => build(id, needed.get(id), false));
    rows.push(...[...optional.keys()].sort(order).map((id) => build(id, optional.get(id), true)));
    byId("controls").replaceChildren(...rows);
    byId("tied-label").hidden = !chosen.some((key) =>
      Object.values(DATA.bounds[key].symbols).filter((id) => DATA.controls[id].role === "width").length > 1)
      && !needed.has("width");
    const select = byId("axis");
    const able = [...needed.keys()].sort(order).filter((id) => facts(id).high > facts(id).low);
    if (!able.includes(axis)) axis = able[0] || "";
    select.replaceChildren(...able.map((id) => make("option", { value: id }, axisName(id))));
    select.value = axis;
    made.clear();
    byId("values").replaceChildren(...chosen.map((key, i) => {
      const found = card(key, i);
      made.set(key, found);
      return found.box;
    }));
    for (const box of document.querySelectorAll("input[name=bound]")) {
      box.checked = chosen.includes(box.value);
      box.disabled = !box.checked && chosen.length >= MOST;
    }
    refresh();
  };
  const toggle = (key, on) => {
    const place = chosen.indexOf(key);
    if (on && place < 0 && chosen.length < MOST) chosen.push(key);
    if (!on && place >= 0) chosen.splice(place, 1);
    rebuild();
  };
  const show = (keys, first) => {
    chosen.splice(0, chosen.length, ...keys.slice(0, MOST));
    axis = first || "";
    rebuild();
  };

  byId("explorer-values").tabIndex = -1;
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => {
      const view = DATA.views[Number(button.dataset.view)];
      show(view.bounds, view.axis);
    });
  }
  for (const box of document.querySelectorAll("input[name=bound]")) {
    box.addEventListener("change", () => toggle(box.value, box.checked));
  }
  for (const link of document.querySelectorAll("[data-explore]")) {
    link.addEventListener("click", () => show(link.dataset.explore.split(" ")));
  }
  byId("clear").addEventListener("click", () => show([]));
  byId("tied").addEventListener("change", rebuild);
  byId("log").addEventListener("change", plot);
  byId("axis").addEventListener("change", (event) => { axis = event.target.value; plot(); });
  byId("find").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const group of document.querySelectorAll("#chooser fieldset")) {
      let any = false;
      for (const label of group.querySelectorAll("label")) {
        const text = `${group.firstChild.textContent} ${label.textContent}`.toLowerCase();
        label.hidden = !words.every((word) => text.includes(word));
        any = any || !label.hidden;
      }
      group.hidden = !any;
    }
  });
  let before = 0;
  new ResizeObserver(() => {
    if (byId("plot").clientWidth !== before) plot();
    before = byId("plot").clientWidth;
  }).observe(byId("plot"));
  show(DATA.views[0].bounds, DATA.views[0].axis);
})();
