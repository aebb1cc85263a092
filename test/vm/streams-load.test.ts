/**
 * A filter-mirror whose peer does not read stops all of QEMU: its main loop waits for the socket. So tapferry reads
 * whatever its output does, in bounded memory, and counts what it could not keep.
 */

import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { acceptPaused, plugChardev, plugFilter, until } from '../support/stream.ts'
import type { Vm } from '../support/vm.ts'
import { counted } from './streams.ts'
import { type Site, sent, statistics, summaryOf, testsWith } from './support.ts'

const hubTest = testsWith(async site => {
  await site.tap('tapA')
  await site.tap('tapC')
  const netdevs = { hnA: 'tapA', hnC: 'tapC' }
  return { vm: await site.start({ name: 'hub', netdevs, hub: true }) }
})

const BUFFER_BYTES = 4 * 1024 * 1024
/** What a process may grow by for other reasons: the heap of JavaScript, the stream's own buffers. */
const MARGIN_BYTES = 24 * 1024 * 1024
const RATE = 20_000
const QUESTIONS = 60
const BETWEEN_MS = 30
const ANSWER_MS = 100

/** How long QEMU takes to answer, in ms, from the quickest to the slowest. */
async function answerTimes(vm: Vm): Promise<number[]> {
  const times: number[] = []
  for (let question = 0; question < QUESTIONS; question += 1) {
    const asked = performance.now()
    await vm.command('query-status')
    times.push(performance.now() - asked)
    await sleep(BETWEEN_MS)
  }
  return times.sort((a, b) => a - b)
}

async function residentBytes(pid: number): Promise<number> {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes) * 1024
}

/** The frames that QEMU has read from a TAP, and those that found its queue full. */
async function fate(site: Site, netdev: string): Promise<{ read: number; lost: number }> {
  const { txPackets, txDropped } = await site.lab.ask('counters', { netdev })
  return { read: Number(txPackets), lost: Number(txDropped) }
}

for (const { output, options, reason } of [
  { output: 'an interface that sends next to nothing', options: [], reason: 'dropped_output_full' },
  { output: 'a peer that reads nothing', options: ['--drop=oldest'], reason: 'dropped_output_full' },
]) {
  const toPeer = output.includes('peer')
  hubTest(`QEMU never waits for a tapferry with ${output}`, async (t, { site, vm }) => {
    const [into, out] = [site.socket(`load-in-${toPeer}`), site.socket(`load-out-${toPeer}`)]
    let end = `--outdev=unix:${out}`
    if (toPeer) {
      const peer = acceptPaused(out)
      t.teardown(async () => (await peer).destroy())
    } else {
      await site.lab.ask('veth', { name: 'vethA', peer: 'vethB' })
      const command = 'tc qdisc add dev vethA root tbf rate 1mbit burst 64kb limit 1gb'
      await site.lab.ask('run', { command: command.split(' ') })
      end = '--out-netdev=vethA'
    }
    const ferry = site.ferry(t, `--indev=unix:${into},server`, end, '--buffer=4M', ...options, '--json')
    await ferry.ready()
    await plugChardev(t, vm, 'c0', { path: into })
    const mirror = { type: 'filter-mirror', netdev: 'hnA', queue: 'tx', outdev: 'c0' } as const
    await plugFilter(t, vm, 'f0', mirror)
    await statistics(ferry)
    const [before, residentBefore] = await Promise.all([fate(site, 'tapA'), residentBytes(ferry.pid)])

    await site.lab.ask('send-start', { name: 'traffic', netdev: 'tapA', rate: RATE, size: 1514 })
    const times = await answerTimes(vm)
    const { frames } = sent(await site.lab.ask('send-stop', { name: 'traffic' }))
    const grown = (await residentBytes(ferry.pid)) - residentBefore

    const at = (part: number) => times[Math.floor(part * (times.length - 1))] ?? Number.NaN
    const told = `QEMU answered in ${at(0.5).toFixed(1)} ms (p90 ${at(0.9).toFixed(1)}, max ${at(1).toFixed(1)})`
    const growth = `tapferry grew by ${(grown / 1024 / 1024).toFixed(1)} MiB`
    t.log(`${told} while ${frames} frames were sent; ${growth}`)
    t.true(at(0.5) < ANSWER_MS, told)
    t.true(grown < BUFFER_BYTES + MARGIN_BYTES, growth)

    let mirrored = 0
    await until(
      async () => {
        const { read, lost } = await fate(site, 'tapA')
        mirrored = read - before.read
        return mirrored + lost - before.lost === frames
      },
      () => `QEMU had read all ${frames} frames, it has read ${mirrored}`,
    )
    await counted(ferry, 'captured', mirrored)
    const summary = summaryOf(t, await ferry.stop())
    t.is(summary['captured'], mirrored, 'all that QEMU mirrored was read, and counted once')
    t.true(Number(summary[reason]) > 1000, JSON.stringify(summary))
  })
}
