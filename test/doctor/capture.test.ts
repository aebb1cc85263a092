/** Who else is at the interfaces: other captures, filters. */

import { labTest } from '../support/lab.ts'
import { cable, doctor, ENDS, finds, findsAndMends, problems, shell, twoTaps } from './support.ts'

/** The kernels of tests may know no other classifier and no other action. */
function filter(netdev: string, direction: 'ingress' | 'egress', priority: number, port: number): string {
  const match = `protocol ip u32 match ip dport ${port} 0xffff`
  return `tc filter add dev ${netdev} ${direction} prio ${priority} ${match} action mirred egress redirect dev lo`
}

labTest('a filter takes what is sent into in_netdev before it is captured', async (t, lab) => {
  await twoTaps(lab)
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'EGRESS_FILTER', severity: 'warning', status: 0, about: 'in_netdev tapA' },
    message:
      /tc filter u32, action mirred is on its egress: what a filter drops or redirects is not captured/,
    seed: () => shell(lab, `tc qdisc add dev tapA clsact && ${filter('tapA', 'egress', 7, 53)}`),
  })
  t.is(fix, 'tc filter del dev tapA egress pref 7 u32')
})

labTest('filters of one priority in the way of what is injected are one fault', async (t, lab) => {
  await twoTaps(lab)
  await findsAndMends(t, lab, {
    ...{ code: 'EGRESS_FILTER', severity: 'warning', status: 0, about: 'out_netdev tapB' },
    message: /tc filter u32, action mirred is on its egress: what is injected passes it/,
    seed: async () => {
      await shell(lab, 'tc qdisc add dev tapB clsact')
      for (const port of [53, 67]) await shell(lab, filter('tapB', 'egress', 5, port))
    },
  })
})

labTest(
  'a filter on ingress, or where only what the guest sends is captured, is in no way',
  async (t, lab) => {
    await twoTaps(lab)
    await shell(lab, 'tc qdisc add dev tapA clsact')
    for (const direction of ['ingress', 'egress'] as const) await shell(lab, filter('tapA', direction, 1, 53))
    t.deepEqual(problems(await doctor(t, lab, { args: [...ENDS, '--queue=rx'] })), [])
  },
)

labTest('somebody else captures, too', async (t, lab) => {
  await lab.ask('tap', { name: 'tapB' })
  await cable(lab, 'vethA', 'vethZ')
  await finds(t, lab, {
    ...{ code: 'OTHER_CAPTURES', severity: 'info', status: 0 },
    message: /captured from already: testbed \(pid \d+\)/,
    faulty: { args: ['--in-netdev=vethA', '--out-netdev=tapB'] },
    seed: () => lab.ask('watch', { netdev: 'vethA' }),
  })
})
