// Start-up of `tapferry --help` against a bare node, measured alternately in one run.
//
//   node bench/startup.mjs [RUNS]
//
// Goal: at most 40 ms more than node on an empty module. The median of many runs is reported and, because other
// work on the machine only ever adds, the minimum.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const runs = Number(process.argv[2] ?? 40)
const launcher = fileURLToPath(new URL('../bin/tapferry', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'tapferry-startup-'))
const empty = join(directory, 'empty.mjs')
writeFileSync(empty, '')

const commands = [
  ['node, empty module', process.execPath, empty],
  ['tapferry --help', launcher, '--help'],
  ['tapferry run --help', launcher, 'run', '--help'],
  ['tapferry run, wrong usage', launcher, 'run', '--bogus'],
]
const times = commands.map(() => [])
for (let run = 0; run < runs; run += 1) {
  for (const [index, [, file, ...args]] of commands.entries()) {
    const start = performance.now()
    spawnSync(file, args, { stdio: 'ignore' })
    times[index].push(performance.now() - start)
  }
}
rmSync(directory, { recursive: true })

console.log(`node ${process.version}, ${cpus().length} x ${cpus()[0].model}, ${runs} runs each, ms`)
console.log(`${'command'.padEnd(28)}  median     min  over bare node (median, min)`)
const summary = times.map(list => {
  const sorted = [...list].sort((a, b) => a - b)
  return { median: sorted[Math.floor(sorted.length / 2)], min: sorted[0] }
})
for (const [index, { median, min }] of summary.entries()) {
  const over = [median - summary[0].median, min - summary[0].min]
  const columns = [median, min, ...over].map(value => value.toFixed(1).padStart(8))
  console.log(commands[index][0].padEnd(26) + columns.join(''))
}
