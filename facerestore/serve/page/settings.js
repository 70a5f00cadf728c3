// What is asked of a photo and of each of its faces, and how a request says it.

export const PARTS = ["eyes", "brows", "nose", "mouth", "skin"];

export const settings = () => ({ strength: 1, detail: null, upscale: "1", force: false });
export const faceSettings = () => ({ on: true, strength: null, detail: null, parts: {} });

export const asOptions = ({ upscale, force }) => ({
  ...(upscale === "1" ? {} : { upscale }),
  ...(force ? { force: "true" } : {}),
});

// The options of a request; what is as by default is left out, so that the result is that of the plain command.
export function options(all, faces) {
  const found = asOptions(all);
  if (all.strength !== 1) found.strength = String(all.strength);
  if (all.detail !== null) found.detail = String(all.detail);
  const on = [...faces.keys()].filter((index) => faces[index].on);
  if (faces.length && !on.length) found.strength = "0";
  else if (on.length < faces.length) found.faces = on.join(",");
  const dials = on.map((index) => [index, dial(faces[index])]).filter(([, words]) => words);
  if (dials.length) found.dial = dials.map(([index, words]) => `${index}:${words}`).join(";");
  return found;
}

function dial({ strength, detail, parts }) {
  const own = { ...(strength === null ? {} : { strength }), ...(detail === null ? {} : { detail }), ...parts };
  return Object.entries(own).map(([name, value]) => `${name}=${value}`).join(",");
}
