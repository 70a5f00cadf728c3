// Requests to the service. A problem is thrown with its own words; where there is no room, it is asked again.

let token = null;
try { token = sessionStorage.getItem("facerestore-token"); } catch { /* none is kept */ }

export class Problem extends Error {}

const later = (seconds, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, 1000 * seconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); fail(signal.reason); }, { once: true });
});

async function askToken() {
  const dialog = document.getElementById("token");
  dialog.showModal();
  await new Promise((done) => { dialog.addEventListener("close", done, { once: true }); });
  token = document.getElementById("token-text").value;
  try { sessionStorage.setItem("facerestore-token", token); } catch { /* not kept where nothing may be */ }
}

async function ask(path, settings) {
  for (;;) {
    const headers = { ...settings.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const answer = await fetch(path, { ...settings, headers });
    if (answer.ok) return answer;
    if (answer.status === 401) await askToken();
    else if (answer.status === 429) await later(Number(answer.headers.get("Retry-After") ?? 2), settings.signal);
    else throw new Problem((await answer.json().catch(() => ({}))).detail ?? `${answer.status} ${answer.statusText}`);
  }
}

function form(file, options) {
  const data = new FormData();
  for (const [name, value] of Object.entries(options)) data.append(name, value);
  data.append("image", file);
  return data;
}

export async function about() {
  return (await ask("v1/service", {})).json();
}

// What would be done with the faces of a photo.
export async function findFaces(file, options, signal) {
  return (await ask("v1/faces", { method: "POST", body: form(file, options), signal })).json();
}

// The restored file, and its report.
export async function restore(file, options, signal) {
  const headers = { Accept: "multipart/form-data" };
  const data = await (await ask("v1/restore", { method: "POST", body: form(file, options), headers, signal })).formData();
  return { file: data.get("image"), report: JSON.parse(await data.get("report").text()) };
}
