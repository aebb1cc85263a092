/** How a VM's monitor is asked for the used index of its guest's queue. */

import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { HandoverSource } from '../../ts/binding.ts'
import { QueueQuestions } from '../../ts/handover/queue-questions.ts'
import { Monitor } from '../../ts/monitor/index.ts'
import { simulate } from '../monitor/support.ts'

const DEVICE = '/machine/peripheral/nic0/virtio-backend'
const ANSWER_MS = 60

/** What the core was told, and a monitor that takes its time; each answer is one more than the one before. */
async function site(t: ExecutionContext) {
  let asked = 0
  const commands = {
    'x-query-virtio-queue-status': (question: object) => {
      t.deepEqual(question, { path: DEVICE, queue: 0 })
      asked += 1
      return { 'used-idx': asked }
    },
  }
  const simulator = await simulate(t, { commands })
  const monitor = await Monitor.connect({ address: simulator.address })
  t.teardown(() => monitor.close())
  simulator.faults.answerDelayMs = ANSWER_MS
  const told: [used: number | undefined, isLast: boolean][] = []
  const handle = {
    usedIndex: (used: number | undefined, isLast: boolean) => void told.push([used, isLast]),
  } as HandoverSource
  return { simulator, told, asked: () => asked, questions: new QueueQuestions(monitor, DEVICE, handle) }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5)
}

test('a VM that runs is asked one question after the other, and once more when it has stopped', async t => {
  const { told, asked, questions } = await site(t)
  await until(() => told.length === 2)
  t.is(asked(), 2)
  // Asked before the stop: whenever it is answered, it may be from before that.
  await until(() => asked() === 3)
  questions.vmStopped()
  await until(() => told.some(([, isLast]) => isLast))
  t.deepEqual(told, [
    [1, false],
    [2, false],
    [3, false],
    [4, true],
  ])
  await sleep(2 * ANSWER_MS)
  t.is(asked(), 4)
})

test('when the monitor is gone, the core is told that there is no last word', async t => {
  const { simulator, told, questions } = await site(t)
  await until(() => told.length === 1)
  await simulator.close()
  questions.vmStopped()
  await until(() => told.some(([, isLast]) => isLast))
  t.deepEqual(told.at(-1), [undefined, true])
})

test('once it is over nothing is told any more', async t => {
  const { told, asked, questions } = await site(t)
  await until(() => asked() === 1)
  questions.end()
  await sleep(2 * ANSWER_MS)
  t.deepEqual(told, [])
})
