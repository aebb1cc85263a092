/**
 * Exercises the addon inside a lab's network namespace, as a process of its own: `exercise.ts NAME`.
 * Prints one JSON line with what it saw; the tests beside it judge.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import type { Redirector, RedirectorEvent, RedirectorOptions } from '../../ts/binding.ts'
import { loadBinding } from '../../ts/native.ts'

const OPTIONS: RedirectorOptions = {
  inNetdev: 'tapA',
  outNetdev: 'tapB',
  queue: 'tx',
  latency: 'balanced',
  status: true,
  whenStopped: 'off',
  running: true,
  preRollMs: 50,
  preRollBytes: 1 << 24,
  completeOffloads: false,
  holdUntilRunning: false,
  bufferBytes: 1 << 24,
  bufferFrames: 65_536,
  dropOldest: false,
  mark: 0x3074,
  wait: false,
}

const ignore = () => {}

function start(options: Partial<RedirectorOptions> = {}, onEvent: (event: RedirectorEvent) => void = ignore) {
  return loadBinding().Redirector.start({ ...OPTIONS, ...options }, onEvent)
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** Packet sockets in this network namespace. */
function packetSockets(): number {
  return readFileSync('/proc/self/net/packet', 'utf8').trim().split('\n').length - 1
}

const exercises: Record<string, () => Promise<unknown>> = {
  /** Many redirectors started, asked and stopped, several at a time. */
  async cycles() {
    const cycle = async (count: number) => {
      for (let n = 0; n < count; n += 1) {
        const redirector = await start({ latency: n % 2 === 0 ? 'balanced' : 'low' })
        await redirector.statistics()
        await redirector.stop()
      }
    }
    const aFew = (count: number) => Promise.all(Array.from({ length: 4 }, () => cycle(count)))
    await aFew(10)
    const before = descriptors()
    await aFew(60)
    return { before, after: descriptors(), packetSockets: packetSockets() }
  },

  /** What start() rejects with. */
  async failures() {
    const codes = []
    const attempts: Partial<RedirectorOptions>[] = [
      { inNetdev: 'nope' },
      { outNetdev: 'nope' },
      { inNetdev: 'a name that is far too long' },
      { count: -1 },
      { inNetdev: 'tun0' },
    ]
    for (const attempt of attempts) {
      const failure = await start(attempt).then(
        () => undefined,
        (error: Error & { code: string }) => ({ code: error.code, message: error.message }),
      )
      codes.push(failure)
    }
    return { failures: codes, packetSockets: packetSockets() }
  },

  /** Events, their order and types; statistics before and after the end. */
  async events() {
    const events: string[] = []
    const times: bigint[] = []
    const redirector = await start({}, event => {
      events.push(event.type)
      times.push(event.timeNs)
    })
    redirector.setStatus(false)
    redirector.setStatus(true)
    redirector.setRunState(false, BigInt(Date.now()) * 1_000_000n)
    redirector.setRunState(true)
    const during = await redirector.statistics()
    const [first, second] = await Promise.all([redirector.stop(), redirector.stop()])
    const after = await redirector.statistics()
    await sleep(50)
    const ordered = times.every((time, index) => index === 0 || time >= (times[index - 1] as bigint))
    return { events, ordered, engines: [during.engine, first.engine, second.engine, after.engine] }
  },

  /** A worker that ends with redirectors running in it, and one that is terminated. */
  async workers() {
    const inWorker = async (script: 'forget' | 'linger') => {
      const worker = new Worker(fileURLToPath(import.meta.url), { argv: [script] })
      await new Promise(resolve => worker.once('message', resolve))
      const during = packetSockets()
      await worker.terminate()
      return during
    }
    const during = [await inWorker('linger'), await inWorker('linger')]
    for (let waited = 0; packetSockets() > 0 && waited < 100; waited += 1) await sleep(50)
    return { during, after: packetSockets() }
  },
}

if (isMainThread) {
  const exercise = exercises[process.argv[2] ?? '']
  if (exercise === undefined) throw new Error(`no exercise '${process.argv[2]}'`)
  process.stdout.write(`${JSON.stringify(await exercise())}\n`)
} else {
  const kept: Redirector[] = [await start(), await start({ latency: 'low' })]
  parentPort?.postMessage(kept.length)
  setInterval(ignore, 1000)
}
