/**
 * QMP's framing: a stream of bytes into JSON objects, incrementally. Pure.
 *
 * QEMU ends every object with CR LF, but with `pretty=on` one object spans many lines, so an object's end is
 * found by its braces. Structural bytes of JSON are ASCII, which lets the scan work on bytes: a chunk may end
 * anywhere, inside a UTF-8 sequence too, and may hold any number of objects.
 *
 * Invariant: never more than `limit` bytes are kept.
 */

/** Far above QEMU's largest answer (query-qmp-schema, some 300 KB). */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024

/** Bytes of a peer's nonsense that are worth showing to people. */
const SAMPLE_BYTES = 120

/** Any JSON object, with the keys of QMP's own messages named (docs/interop/qmp-spec.txt). */
export interface JsonObject {
  readonly QMP?: unknown
  readonly event?: unknown
  readonly data?: unknown
  readonly timestamp?: unknown
  readonly id?: unknown
  readonly return?: unknown
  readonly error?: unknown
}

/** The peer does not speak QMP, or sends more than anyone should. */
export class WireError extends Error {
  override readonly name = 'WireError'
  /** The start of what the peer sent, printable. */
  readonly sample: string

  constructor(message: string, sample: Uint8Array) {
    super(message)
    this.sample = printable(sample)
  }
}

export class Framer {
  readonly #limit: number
  /** Bytes of the object that is not complete yet. */
  #kept: Uint8Array[] = []
  #keptBytes = 0
  #depth = 0
  #inString = false
  #escaped = false

  constructor(limit: number = MAX_MESSAGE_BYTES) {
    this.#limit = limit
  }

  /**
   * The objects that are complete with this chunk, in order. Take every one of them before the next chunk.
   * Throws WireError where the stream stops being QMP; what came before has been yielded by then.
   */
  *push(chunk: Uint8Array): Generator<JsonObject, void, void> {
    let start = 0
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]
      if (this.#depth === 0) {
        if (isSpace(byte)) {
          start = at + 1
          continue
        }
        if (byte !== BRACE_OPEN) throw new WireError('not a JSON object', chunk.subarray(at))
      }
      if (this.#scan(byte)) {
        yield this.#take(chunk.subarray(start, at + 1))
        start = at + 1
      }
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start))
  }

  /** Follows strings and braces; true at the brace that ends the object. */
  #scan(byte: number | undefined): boolean {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false
      else if (byte === BACKSLASH) this.#escaped = true
      else if (byte === QUOTE) this.#inString = false
      return false
    }
    if (byte === QUOTE) this.#inString = true
    else if (byte === BRACE_OPEN) this.#depth += 1
    else if (byte === BRACE_CLOSE) {
      this.#depth -= 1
      return this.#depth === 0
    }
    return false
  }

  #keep(part: Uint8Array): void {
    this.#keptBytes += part.length
    if (this.#keptBytes > this.#limit) {
      throw new WireError(`a message above ${this.#limit} bytes`, this.#kept[0] ?? part)
    }
    // A copy: the chunk belongs to the socket, and a small rest would hold all of it.
    this.#kept.push(Uint8Array.from(part))
  }

  #take(last: Uint8Array): JsonObject {
    this.#keep(last)
    const bytes = Buffer.concat(this.#kept)
    this.#kept = []
    this.#keptBytes = 0
    try {
      return JSON.parse(bytes.toString('utf8')) as JsonObject
    } catch {
      throw new WireError('not valid JSON', bytes)
    }
  }
}

const BRACE_OPEN = 0x7b
const BRACE_CLOSE = 0x7d
const QUOTE = 0x22
const BACKSLASH = 0x5c

/** RFC 8259, section 2. */
function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}

function printable(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.subarray(0, SAMPLE_BYTES)).toString('latin1')
  return (text.split(/[\r\n]/, 1)[0] ?? '').replace(/[^\x20-\x7e]/g, '.')
}
