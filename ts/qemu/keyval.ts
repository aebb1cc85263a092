/**
 * The syntax of QEMU's options, `value,key=value,key,nokey` or JSON, to pairs of texts and back. Pure.
 *
 *     socket,id=c0,path=/run/x,,y,server,nowait     a comma is written twice; a key alone is on, nokey off
 *     {"qom-type":"filter-mirror","id":"m0"}        what libvirt writes, and the arguments of QMP's
 *     {"id":"c0","backend":{"type":"socket",...}}   object-add and chardev-add
 *
 * Read in QEMU's util/keyval.c and util/qemu-option.c; where they differ, what either takes is taken.
 */

/** In the order given; of a key that is given twice, the last value counts. */
export type Properties = ReadonlyMap<string, string>

/** Two commas are one of the text, and a single one ends it. */
export function splitAtCommas(text: string): string[] {
  return text
    .replaceAll(',,', '\0')
    .split(',')
    .map(part => part.replaceAll('\0', ','))
}

/** So that `splitAtCommas` leaves the text whole. */
export function doubleCommas(text: string): string {
  return text.replaceAll(',', ',,')
}

/** `first`: the key of a leading value without one. Throws a SyntaxError for what looks like JSON and is none. */
export function parseProperties(text: string, first: string): Properties {
  if (text.startsWith('{')) return new Map(pairsOf(parseJson(text)))
  const pairs = splitAtCommas(text)
    .map((part, index): [string, string] => {
      const [, key, value] = /^([^=]*)=(.*)$/s.exec(part) ?? []
      if (key !== undefined && value !== undefined) return [key, value]
      return index === 0 ? [first, part] : [part, 'on']
    })
    .filter(([key]) => key !== '')
  return new Map(pairs)
}

/** As `parseProperties` reads it. */
export function formatProperties(properties: Properties, first: string): string {
  const rest = [...properties].filter(([key]) => key !== first)
  return [
    doubleCommas(properties.get(first) ?? ''),
    ...rest.map(([key, value]) => `${key}=${doubleCommas(value)}`),
  ].join(',')
}

/** QEMU also takes single quotes, as its documentation has them. */
function parseJson(text: string): object {
  return JSON.parse(text.includes('"') ? text : text.replaceAll("'", '"')) as object
}

/** Objects inside are taken for their contents: `props`, `data`, `addr`. */
function pairsOf(object: object): [string, string][] {
  return Object.entries(object).flatMap(([key, value]: [string, unknown]): [string, string][] => {
    if (typeof value !== 'object' || value === null) return [[key, String(value)]]
    // The kind of an address is seen by its contents.
    if (key === 'addr') return pairsOf(value).filter(([inner]) => inner !== 'type')
    if (key === 'backend')
      return pairsOf(value).map(([inner, text]) => [inner === 'type' ? key : inner, text])
    return pairsOf(value)
  })
}
