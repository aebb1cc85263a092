/**
 * `npm run lab:migration`: what live migrations lose, duplicate and reorder, with tapferry and without.
 *
 *     options.ts    the command line -> a plan
 *     variants.ts   what a migration can be like
 *     image.ts      the guest and its kernel
 *     network.ts    two hosts, a switch and a client, each in a network namespace
 *     machine.ts    the VM on one host, and the one that waits on the other
 *     traffic.ts    what the client sends, and what the guest has counted of it
 *     count.ts      what is missing of it, and since when
 *     drops.ts      what QEMU did not read in time
 *     migrate.ts    one migration over QMP
 *     pace.ts       when QEMU is to stop the VM, and how fast its state travels
 *     watch.ts      what VMs tell of it
 *     ferries.ts    tapferry on both hosts
 *     kills.ts      when one of them is killed
 *     traces.ts     what they may leave on the hosts
 *     starve.ts     busy loops beside it all
 *     scene.ts      all of that together: a guest that can migrate as often as one likes
 *     rounds.ts     one variant: to and fro
 *     report.ts     what is printed
 *     cleanup.ts    what is undone at the end
 *
 * Times come from one machine that emulates everything; what is lost during a downtime is the same anywhere.
 * Exit status: 0 when all migrations were made, 1 when something failed, 2 for wrong usage, 3 when this machine lacks
 * what is needed, 128 + N after signal N.
 */

import { appendFile, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { Unavailable } from '../../test/support/testbed.ts'
import { Cleanup } from './cleanup.ts'
import { prepareImage } from './image.ts'
import { type Plan, parse, USAGE, UsageError } from './options.ts'
import { printHead, printKilled, printRow, printSummary } from './report.ts'
import { rounds } from './rounds.ts'
import type { Row } from './scene.ts'

const STATUS_USAGE = 2
const STATUS_MISSING = 3
const STATUS_SIGNALLED = 128

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

// Interrupted work may still wait for something.
process.exit(await main(process.argv.slice(2)))

async function main(args: readonly string[]): Promise<number> {
  try {
    const plan = parse(args)
    if (plan === undefined) {
      process.stdout.write(USAGE)
      return 0
    }
    return await interruptible(cleanup => measure(plan, cleanup))
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
    if (error instanceof UsageError) return STATUS_USAGE
    return error instanceof Unavailable ? STATUS_MISSING : 1
  }
}

async function measure({ variants, ferries, json }: Plan, cleanup: Cleanup): Promise<number> {
  const image = await prepareImage()
  if (json !== undefined) await writeFile(json, '')
  const rows: Row[] = []
  let failures = 0
  printHead()
  for (const variant of variants) {
    try {
      for await (const row of rounds(image, variant, ferries, cleanup)) {
        rows.push(row)
        printRow(row)
        if (json !== undefined) await appendFile(json, `${JSON.stringify(row)}\n`)
      }
    } catch (error) {
      if (error instanceof Unavailable || cleanup.closed) throw error
      // What the other variants tell is not worth less.
      failures += 1
      process.stderr.write(`${variant.name}: ${error instanceof Error ? error.message : error}\n`)
    } finally {
      await cleanup.run()
    }
  }
  printSummary(rows)
  printKilled(rows)
  return failures === 0 ? 0 : 1
}

/** Runs the work to its end or to the first signal, and cleans up after it either way. */
async function interruptible(work: (cleanup: Cleanup) => Promise<number>): Promise<number> {
  const cleanup = new Cleanup()
  const interrupted = new Promise<NodeJS.Signals>(resolve => {
    for (const signal of SIGNALS) process.on(signal, () => resolve(signal))
    // Nobody reads on, as behind `| head`.
    process.stdout.on('error', () => resolve('SIGPIPE'))
  })
  const working = work(cleanup)
  // After a signal, what becomes of the work is of no interest.
  working.catch(() => {})
  const end = await Promise.race([working, interrupted]).finally(() => cleanup.close())
  return typeof end === 'number' ? end : STATUS_SIGNALLED + constants.signals[end]
}
