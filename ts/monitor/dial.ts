/**
 * A connected socket to a monitor, or the failure in words.
 *
 * A unix listener whose backlog is full answers a non-blocking connect with EAGAIN at once (QEMU's backlog
 * holds two): that is waiting too, and is tried again until the time is over.
 */

import { stat } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatMonitorAddress, type MonitorAddress } from './address.ts'
import { connectFailure, NoAnswer, notASocket } from './failures.ts'

/** Between attempts while a unix listener's backlog is full. */
const BACKLOG_RETRY_MS = 50

/** After which silence TCP asks whether the peer still exists. */
const KEEP_ALIVE_MS = 10_000

/** The socket has no listeners but one that swallows errors; the caller adds its own before the next turn. */
export async function dial(address: MonitorAddress, timeoutMs: number, signal: AbortSignal): Promise<Socket> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    try {
      return await connectOnce(address, deadline - performance.now(), signal)
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof NoAnswer) throw error
      const failure = error as NodeJS.ErrnoException
      if (failure.code === 'EAGAIN') {
        if (performance.now() + BACKLOG_RETRY_MS >= deadline) throw new NoAnswer('connect')
        await sleep(BACKLOG_RETRY_MS, undefined, { signal }).catch(() => {})
        continue
      }
      if (failure.code === 'ECONNREFUSED' && address.kind === 'unix') await expectSocket(address.path)
      throw connectFailure(address, failure)
    }
  }
}

/**
 * Whether the peer shares this host's clock: a unix socket, or an address of this host. (A tunnel to another
 * host looks local too; nothing on the wire tells.)
 */
export function isLocalPeer(address: MonitorAddress, socket: Socket): boolean {
  if (address.kind === 'unix') return true
  const peer = plainAddress(socket.remoteAddress ?? '')
  if (peer.startsWith('127.') || peer === '::1') return true
  return Object.values(networkInterfaces()).some(list =>
    list?.some(own => plainAddress(own.address) === peer),
  )
}

/** Without the prefix of an IPv4 address in an IPv6 socket, and without a zone. */
function plainAddress(text: string): string {
  return text.replace(/^::ffff:(?=\d+\.)/, '').replace(/%.*$/, '')
}

function connectOnce(address: MonitorAddress, timeoutMs: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket =
      address.kind === 'unix'
        ? createConnection({ path: address.path })
        : createConnection({
            host: address.host,
            port: address.port,
            noDelay: true,
            keepAlive: true,
            keepAliveInitialDelay: KEEP_ALIVE_MS,
          })
    const timer = setTimeout(() => fail(new NoAnswer('connect')), Math.max(timeoutMs, 0))
    const onAbort = (): void => fail(signal.reason)
    const settle = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
    const fail = (error: unknown): void => {
      settle()
      socket.destroy()
      reject(error)
    }
    signal.addEventListener('abort', onAbort)
    if (signal.aborted) onAbort()
    // Stays for good: an error after the promise is settled must not end the process.
    socket.on('error', fail)
    socket.once('connect', () => {
      settle()
      resolve(socket)
    })
  })
}

/** A connect to what is no socket at all is refused as well: say what it is instead. */
async function expectSocket(path: string): Promise<void> {
  const entry = await stat(path).catch(() => undefined)
  if (entry === undefined || entry.isSocket()) return
  const kind = entry.isDirectory() ? 'a directory' : entry.isFile() ? 'a regular file' : 'no socket'
  throw notASocket(formatMonitorAddress({ kind: 'unix', path }), `it is ${kind}`)
}
