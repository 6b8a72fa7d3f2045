"use strict";

const SECONDS = 600;
const WIDTH = 420, HEIGHT = 150, LEFT = 52, BOTTOM = 18, TOP = 8;
const SVG = "http://www.w3.org/2000/svg";
let samples = [];
let costPerHour = 0;
let mayPurge = false;

/* --- Numbers --- */

function short(value) {
	for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
		if (value >= size) {
			return (value / size).toPrecision(3) + " " + unit;
		}
	}
	return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toPrecision(2);
}

function time(us) {
	return us >= 1e6 ? (us / 1e6).toPrecision(3) + " s" : us >= 1e3 ? (us / 1e3).toPrecision(3) + " ms" : us.toFixed(0) + " µs";
}

function duration(seconds) {
	return seconds > 0 && seconds < 1 ? time(seconds * 1e6) : seconds >= 7200 ? (seconds / 3600).toPrecision(3) + " h" : seconds >= 120 ? (seconds / 60).toPrecision(3) + " min"
		: seconds.toPrecision(3) + " s";
}

function bytes(value) {
	const text = short(value);
	return text + (/\d$/.test(text) ? " B" : "B");
}

function money(amount) {
	return amount >= 0.01 || amount === 0 ? amount.toFixed(2) : "< 0.01";
}

function percent(ratio) {
	return (ratio * 100).toFixed(1) + " %";
}

function rows(sample) {
	return sample.hits + sample.joined + sample.misses + sample.bypassed + sample.errors;
}

/* --- Elements --- */

function element(name, text, attributes = {}) {
	const made = document.createElement(name);
	if (text !== undefined) {
		made.textContent = text;
	}
	for (const [key, value] of Object.entries(attributes)) {
		made.setAttribute(key, value);
	}
	return made;
}

/* Of a table: its cells have these texts. */
function row(kind, texts, attributes = {}) {
	const made = element("tr", undefined, attributes);
	made.append(...texts.map(text => element(kind, text, kind === "th" ? {scope: "col"} : {})));
	return made;
}

function shape(parent, name, attributes, text) {
	const made = document.createElementNS(SVG, name);
	for (const [key, value] of Object.entries(attributes)) {
		made.setAttribute(key, value);
	}
	if (text !== undefined) {
		made.textContent = text;
	}
	parent.append(made);
}

/* --- Charts --- */

const charts = [
	{title: "requests a second", format: short, least: 1, series: [
		{name: "answered by the cache", class: "hit", value: s => share(s, s.hits + s.joined)},
		{name: "by the model", class: "model", value: s => s.requests - share(s, s.hits + s.joined)},
		{name: "failed", class: "other", value: s => s.failures}]},
	{title: "hit ratio", needs: cache => cache !== null, format: percent, least: 1, most: 1, series: [
		{name: "rows answered by the cache", class: "hit", value: s => rows(s) > 0 ? (s.hits + s.joined) / rows(s) : NaN}]},
	{title: "latency", format: time, logarithmic: true, series: [
		{name: "hit, p50", class: "hit", value: s => s.hit_p50_us || NaN},
		{name: "hit, p99", class: "hit thin", value: s => s.hit_p99_us || NaN},
		{name: "model, p50", class: "model", value: s => s.model_p50_us || NaN},
		{name: "model, p99", class: "model thin", value: s => s.model_p99_us || NaN}]},
	{title: "memory of the cache", needs: cache => cache !== null && cache.capacity_bytes > 0, format: bytes, least: 1000, series: [
		{name: "used", class: "hit", value: s => s.used_bytes}]},
];

/* Rows are counted, and requests: a request's share is that of its rows. */
function share(sample, part) {
	return rows(sample) > 0 ? sample.requests * part / rows(sample) : 0;
}

function range(chart, lines) {
	const values = lines.flat().filter(value => value > 0 && Number.isFinite(value));
	const most = Math.max(chart.least ?? 10, ...values);
	if (!chart.logarithmic) {
		return [0, chart.most ?? most * 1.08];
	}
	const low = Math.floor(Math.log10(values.length > 0 ? Math.min(...values) : 1));
	return [low, Math.max(low + 1, Math.ceil(Math.log10(most)))];
}

/* As many as there are samples of: at first the lines would not be seen otherwise. */
function minutesShown(now) {
	const oldest = samples.length > 0 ? samples[0].time_ms : now;
	return Math.min(SECONDS / 60, Math.max(1, Math.ceil((now - oldest) / 60000)));
}

function draw(chart, now) {
	const svg = chart.svg;
	const lines = chart.series.map(series => samples.map(series.value));
	const [low, high] = range(chart, lines);
	const level = value => chart.logarithmic ? Math.log10(value) : value;
	const span = minutesShown(now);
	const x = ms => LEFT + (WIDTH - LEFT) * (1 - (now - ms) / 60000 / span);
	const y = value => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (level(value) - low) / (high - low));

	svg.replaceChildren();
	const steps = chart.logarithmic ? high - low : 4;
	for (let i = 0; i <= steps; i++) {
		const value = chart.logarithmic ? 10 ** (low + i) : high * i / steps;
		shape(svg, "line", {class: "grid", x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value)});
		shape(svg, "text", {x: LEFT - 6, y: y(value) + 4, "text-anchor": "end"}, chart.format(value));
	}
	shape(svg, "text", {x: LEFT, y: HEIGHT - 4}, `${span} min ago`);
	shape(svg, "text", {x: WIDTH, y: HEIGHT - 4, "text-anchor": "end"}, "now");
	chart.series.forEach((series, index) => {
		let path = "";
		let pen = "M";
		samples.forEach((sample, i) => {
			const value = lines[index][i];
			if (!Number.isFinite(value) || x(sample.time_ms) < LEFT) {
				pen = "M";
				return;
			}
			path += `${pen}${x(sample.time_ms).toFixed(1)} ${Math.max(TOP, y(value)).toFixed(1)}${pen === "M" ? "h0" : ""}`; /* a point alone is seen */
			pen = "L";
		});
		shape(svg, "path", {class: `line ${series.class}`, d: path});
	});
	const last = chart.series.map((series, i) => [series.name, lines[i].at(-1)])
		.filter(([, value]) => Number.isFinite(value)).map(([name, value]) => `${name} ${chart.format(value)}`).join(", ");
	svg.setAttribute("aria-label", `${chart.title}: ${last || "nothing yet"}`);
}

function makeCharts() {
	for (const chart of charts) {
		const figure = element("figure");
		const caption = element("figcaption");
		caption.append(element("strong", chart.title));
		for (const series of chart.series) {
			const key = element("span", (series.class.includes("thin") ? "┄ " : "━ ") + series.name, {class: series.class});
			caption.append(key);
		}
		chart.svg = document.createElementNS(SVG, "svg");
		chart.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
		chart.svg.setAttribute("role", "img");
		chart.figure = figure;
		figure.append(caption, chart.svg);
		document.getElementById("charts").append(figure);
	}
}

/* --- Tiles --- */

function showTiles(cache) {
	const minute = samples.slice(-60);
	const sum = value => minute.reduce((all, sample) => all + value(sample), 0);
	const asked = sum(rows);
	const tiles = [["requests/s, last minute", minute.length > 0 ? short(sum(s => s.requests) / minute.length) : "–"],
		["hit ratio, last minute", asked > 0 ? percent(sum(s => s.hits + s.joined) / asked) : "–"]];
	if (cache) {
		const saved = cache.models.reduce((all, model) => all + model.saved_seconds, 0);
		tiles.push(["compute saved", duration(saved)]);
		if (costPerHour > 0) {
			tiles.push(["money saved", money(saved / 3600 * costPerHour)]);
		}
		if (cache.capacity_bytes > 0) {
			tiles.push([`entries in ${cache.store}`, short(cache.entries)]);
			tiles.push(["memory used", percent(cache.used_bytes / cache.capacity_bytes)]);
			tiles.push(["evictions", short(cache.evictions)]);
		} else { /* what a store elsewhere holds is not known here */
			tiles.push([`connections to ${cache.store}`, String(cache.connections)]);
			tiles.push(["entries stored", short(cache.inserts)]);
		}
		tiles.push(["failed look-ups", short(cache.lookup_failures)]);
	} else {
		tiles.push(["cache", "none"]);
	}
	document.getElementById("tiles").replaceChildren(...tiles.map(([name, value]) => {
		const tile = element("div", undefined, {class: "tile"});
		tile.append(element("b", value), element("span", name));
		return tile;
	}));
}

/* --- Models --- */

async function purge(model) {
	if (!confirm(`Remove all answers of model '${model}' from the cache?`)) {
		return;
	}
	const reply = await fetch("v2/cache/purge", {method: "POST", body: JSON.stringify({model})});
	const answer = await reply.json();
	alert(reply.ok ? `${answer.purged} entries removed` : answer.error);
}

function showModels(cache) {
	const table = document.getElementById("models");
	document.getElementById("models-section").hidden = !cache;
	if (!cache) {
		return;
	}
	const names = ["model", "version", "by", "rows asked", "hits", "joined", "ratio", "errors", "audited", "wrong", "compute saved", ""];
	const head = row("th", names);
	const lines = [...cache.models].sort((a, b) => b.saved_seconds - a.saved_seconds).map(model => {
		const button = element("button", "purge", {type: "button", "aria-label": `purge ${model.name}`});
		button.addEventListener("click", () => purge(model.name));
		const cells = [model.name, model.version, model.granularity, short(model.lookups), short(model.hits), short(model.joined),
			model.lookups > 0 ? percent((model.hits + model.joined) / model.lookups) : "–", short(model.errors),
			short(model.audits), short(model.audit_mismatches), duration(model.saved_seconds)];
		const line = row("td", cells);
		const last = element("td");
		if (mayPurge) {
			last.append(button);
		}
		line.append(last);
		return line;
	});
	const focused = document.activeElement?.getAttribute("aria-label");
	table.replaceChildren(head, ...lines);
	if (focused?.startsWith("purge ")) {
		table.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
	}
}

/* --- Keys --- */

const KEYS = 8;

/* The heaviest of all models. */
function showKeys(table, title, counted, list, cache) {
	const keys = (cache?.models ?? []).flatMap(model => model[list].map(key => ({model: model.name, ...key})))
		.sort((a, b) => b.compute_seconds - a.compute_seconds).slice(0, KEYS);
	const head = row("th", ["model", "key", counted, "compute time", "answer"]);
	const none = element("tr");
	none.append(element("td", "none", {colspan: 5}));
	const lines = keys.map(key => row("td", [key.model, key.key, short(key.count), time(key.compute_seconds * 1e6), bytes(key.bytes)]));
	document.getElementById(table).replaceChildren(element("caption", title), head, ...(lines.length > 0 ? lines : [none]));
}

function showAllKeys(cache) {
	document.getElementById("keys-section").hidden = !cache;
	showKeys("valuable", "most valuable: answered without a run", "answers", "valuable_keys", cache);
	showKeys("wasteful", "most wasteful: computed more than once", "runs", "wasteful_keys", cache);
}

/* --- Servers of the cache --- */

function stateOf(node) {
	if (node.open_breakers > 0) {
		return node.open_breakers === node.threads ? "asked no more: breaker open"
			: `breaker open in ${node.open_breakers} of ${node.threads} threads`;
	}
	if (node.connected_threads === 0) {
		return "not connected";
	}
	return node.connected_threads === node.threads ? "serves" : `serves ${node.connected_threads} of ${node.threads} threads`;
}

function showNodes(cache) {
	const nodes = cache?.nodes ?? [];
	const head = row("th", ["server", "state", "connections for look-ups", "round trip"]);
	document.getElementById("nodes-section").hidden = nodes.length === 0;
	document.getElementById("nodes").replaceChildren(head, ...nodes.map(node => row("td",
		[node.address, stateOf(node), String(node.lookup_connections), node.round_trip_us > 0 ? time(node.round_trip_us) : "–"],
		node.open_breakers > 0 || node.connected_threads === 0 ? {class: "lost"} : {})));
}

function showWarnings(warnings) {
	const lines = warnings.map(warning => element("li", `${new Date(warning.time_ms).toLocaleTimeString()} ${warning.text}`));
	document.getElementById("warnings").replaceChildren(...(lines.length > 0 ? lines.reverse() : [element("li", "none")]));
}

/* --- Following --- */

function take(history) {
	for (const values of history.samples) {
		samples.push(Object.fromEntries(history.fields.map((name, i) => [name, values[i]])));
	}
	samples = samples.slice(-SECONDS);
	costPerHour = history.cost_per_hour;
	mayPurge = history.may_purge;
	document.getElementById("metrics").hidden = !history.has_metrics;
	showWarnings(history.warnings);
}

async function follow() {
	const state = document.getElementById("state");
	try {
		const since = samples.length > 0 ? samples.at(-1).time_ms : 0;
		const [history, cache] = await Promise.all([fetch(`history?since=${since}`), fetch("v2/cache")]);
		if (!history.ok) {
			throw new Error((await history.json()).error);
		}
		const told = await history.json();
		take(told);
		const report = cache.ok ? await cache.json() : null;
		showTiles(report);
		showModels(report);
		showAllKeys(report);
		showNodes(report);
		const now = samples.length > 0 ? samples.at(-1).time_ms : Date.now();
		for (const chart of charts) {
			chart.figure.hidden = chart.needs !== undefined && !chart.needs(report);
			draw(chart, now);
		}
		state.textContent = `version ${told.version}, up ${duration(told.uptime_s)}${report ? `, ${report.description}` : ""}`;
		state.className = "";
	} catch (failure) {
		state.textContent = `no answer: ${failure.message}`;
		state.className = "lost";
	}
	setTimeout(follow, 1000);
}

makeCharts();
follow();
