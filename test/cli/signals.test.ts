/** What SIGINT and SIGTERM do; how fast a run ends then is in run.test.ts. */

import test from 'ava'
import { ROOT, run } from '../support/cli.ts'

/** A process that catches its signals and sends them to itself; its clock is made up. */
async function signalled(...times: readonly number[]): ReturnType<typeof run> {
  const script = `
    import { catchStopSignals, stopRequested } from '${ROOT}ts/signals.ts'
    import { setTimeout as sleep } from 'node:timers/promises'
    let now = 0
    catchStopSignals(() => now)
    const signals = ['SIGINT', 'SIGTERM', 'SIGINT']
    let heard = 0
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => { heard += 1 })
    for (const [index, time] of ${JSON.stringify(times)}.entries()) {
      now = time
      process.kill(process.pid, signals[index])
      while (heard <= index) await sleep(1)
    }
    console.log(stopRequested.aborted ? 'stopping' : 'going on')
  `
  return run(process.execPath, ['--import', '@oxc-node/core/register', '--input-type=module', '-e', script], {
    cwd: ROOT,
  })
}

test('two signals at once are one request: a terminal and timeout(1) both send one', async t => {
  const { status, stdout } = await signalled(1000, 1003)
  t.is(status, 0)
  t.is(stdout, 'stopping\n')
})

test('one that comes half a second after the first ends the process at once', async t => {
  const { signal, stdout } = await signalled(1000, 1003, 1500)
  t.is(signal, 'SIGINT')
  t.is(stdout, '')
})
