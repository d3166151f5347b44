"use strict";
// what hpax.explore.packing packed: bytes that are compressed, in base64
const unpack = (() => {
  const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };

  function bytes(text) {
    const letters = atob(text), raw = new Uint8Array(letters.length);
    for (let k = 0; k < letters.length; k++) raw[k] = letters.charCodeAt(k);
    return raw;
  }

  async function one({ packed, type }) {
    const stream = new Blob([bytes(packed)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const answer = new Response(stream);
    return type === "json" ? answer.json() : new ARRAYS[type](await answer.arrayBuffer());
  }

  // replaces all that is packed in a value by what it holds
  async function unpack(value) {
    if (value === null || typeof value !== "object") return value;
    if (Object.keys(value).join() === "packed,type") return one(value);
    await Promise.all(Object.keys(value).map(async (name) => { value[name] = await unpack(value[name]); }));
    return value;
  }
  unpack.bytes = bytes;
  return unpack;
})();
