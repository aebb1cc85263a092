/**
 * Where a monitor listens, read from what people write: a path, `HOST:PORT`, `[V6]:PORT`, or either of them
 * with the prefix `unix:` or `tcp:`. Pure.
 *
 * Without a prefix, whatever holds a slash or no colon is a path.
 */

import { TapferryError } from '../errors.ts'
import { formatHostPort } from '../stream/address.ts'

export type MonitorAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }

/** Bytes of `sun_path` (unix(7)) less its final zero; Node cuts a longer path without a word. */
const MAX_PATH_BYTES = 107

/** What follows the path in QEMU's own option, as in `unix:/run/vm.qmp,server=on,wait=off`. */
const QEMU_OPTIONS = /,(server|wait|nowait|reconnect|telnet|websocket|nodelay)\b.*$/

export function parseMonitorAddress(text: string): MonitorAddress {
  const options = QEMU_OPTIONS.exec(text)
  if (options !== null) {
    throw invalid(
      text,
      "ends in options of QEMU's",
      `give the address alone: ${text.slice(0, options.index)}`,
    )
  }
  if (text.startsWith('unix:')) return parsePath(text, text.slice('unix:'.length))
  if (text.startsWith('tcp:')) return parseHostPort(text, text.slice('tcp:'.length))
  if (text.includes('/') || !text.includes(':')) return parsePath(text, text)
  return parseHostPort(text, text)
}

/** The address as people write it, without a prefix. */
export function formatMonitorAddress(address: MonitorAddress): string {
  return address.kind === 'unix' ? address.path : formatHostPort(address)
}

function parsePath(text: string, path: string): MonitorAddress {
  if (path === '') throw invalid(text, 'names no path', 'give the path of a QMP socket, or HOST:PORT')
  const bytes = Buffer.byteLength(path)
  if (bytes > MAX_PATH_BYTES) {
    throw invalid(
      text,
      `is ${bytes} bytes long, and the path of a unix socket has at most ${MAX_PATH_BYTES}`,
      'change to its directory and give a relative path, or link to it from a shorter one',
    )
  }
  if (path.includes('\0')) throw invalid(text, 'holds a zero byte', 'give the path of a QMP socket')
  return { kind: 'unix', path }
}

function parseHostPort(text: string, hostPort: string): MonitorAddress {
  const parts = /^(?:\[(?<v6>[^\]]*)\]|(?<name>[^:[\]]*)):(?<port>[^:]*)$/.exec(hostPort)?.groups
  if (parts === undefined) {
    throw invalid(text, 'is no HOST:PORT', 'write localhost:4444, or [::1]:4444 for an IPv6 address')
  }
  const { v6, name, port: digits = '' } = parts
  const host = v6 ?? name ?? ''
  if (host === '') throw invalid(text, 'names no host', `for this host write localhost:${digits}`)
  const port = Number(digits)
  if (!/^\d{1,5}$/.test(digits) || port < 1 || port > 65_535) {
    throw invalid(
      text,
      `has no port between 1 and 65535`,
      'write HOST:PORT, or unix:PATH for a path with a colon',
    )
  }
  return { kind: 'tcp', host, port }
}

function invalid(text: string, why: string, hint: string): TapferryError {
  return new TapferryError('MONITOR_ADDRESS_INVALID', `invalid monitor address '${text}': it ${why}`, hint)
}
