/** How a page looks: as quiet as the benchmark's pages, light or dark as its reader has it, light on paper. */

export const STYLE = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2933; --soft: #52606d; --faint: #7b8794; --rule: #e4e7eb;
  --line: #9aa5b1; --good: #2f7d4f; --caution: #9a6700; --bad: #b83a24; --neutral: #52606d; --good-wash: #edf6ef;
  --caution-wash: #fdf5e4; --bad-wash: #fcefec; --neutral-wash: #f3f5f7; --down: #f1f3f6; --state0: #dde5ef; --state1: #eaeff5;
  --captured: #3b6ea5; --sent: #7d9cc4; --came: #6b7fa8; --injected: #4c9a6a; --direct: #c3ccd6; --deduplicated: #e3a23c }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #14191f; --ink: #e4e7eb; --soft: #a9b4c0; --faint: #8793a1;
  --rule: #2b333d; --line: #5f6c7b; --good: #6cc08b; --caution: #e0b04d; --bad: #f08a74; --neutral: #a9b4c0; --good-wash: #17261d;
  --caution-wash: #2a2313; --bad-wash: #2f1b17; --neutral-wash: #1d242c; --down: #1d242d; --state0: #2c3b4d; --state1: #232e3b;
  --captured: #6d9fd6; --sent: #4a709f; --came: #8d9fc9; --injected: #5fb482; --direct: #4b5765; --deduplicated: #e3a23c } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, 'DejaVu Sans', sans-serif; color: var(--ink); background: var(--paper); max-width: 1120px;
  margin: 28px auto 48px; padding: 0 24px; print-color-adjust: exact; -webkit-print-color-adjust: exact }
h1 { font-size: 25px; line-height: 1.3; margin: 0; text-wrap: balance } h2 { font-size: 19px; margin: 40px 0 6px }
h3 { font-size: 15px; margin: 24px 0 6px } h2 small, h3 small { font-weight: normal; color: var(--soft); font-size: 13.5px; margin-left: 8px }
p { margin: 4px 0 10px; max-width: 860px } .facts, .note { color: var(--soft); font-size: 14px } .facts { margin: 0 0 14px }
.facts { display: flex; flex-wrap: wrap; gap: 0 20px; max-width: none }
code { font: 12.5px ui-monospace, 'DejaVu Sans Mono', monospace } th { white-space: nowrap } .counters { margin-top: 18px }
.verdict { border-left: 5px solid; padding: 16px 20px; border-radius: 3px } .verdict p { margin: 6px 0 0 }
.good { border-color: var(--good); background: var(--good-wash) } .good h1 { color: var(--good) }
.caution { border-color: var(--caution); background: var(--caution-wash) } .caution h1 { color: var(--caution) }
.bad { border-color: var(--bad); background: var(--bad-wash) } .bad h1 { color: var(--bad) }
.neutral { border-color: var(--neutral); background: var(--neutral-wash) }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px 22px; margin: 22px 0 0 }
.figures div { border-top: 1px solid var(--rule); padding-top: 8px } .figures dt { font-size: 13px; color: var(--soft) }
.figures dd { margin: 0; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.35 }
.figures dd + dd { font-size: 13px; font-weight: normal; color: var(--soft); line-height: 1.4 } .figures .lost { color: var(--bad) }
ul { margin: 6px 0; padding-left: 20px } li { margin: 3px 0; max-width: 860px } li b { font-weight: 600 }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 0 36px } .sides > section { min-width: 0 }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; margin: 4px 0 }
th, td { padding: 4px 10px 4px 0; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top; font-weight: normal }
td.number, th.number { text-align: right; white-space: nowrap; font-weight: 600 } td:last-child { padding-right: 0; color: var(--soft) }
tr.zero .number, tr.zero th { color: var(--faint); font-weight: normal } tr.lost .number, tr.lost th { color: var(--bad) }
.losses td.number { color: var(--bad) }
.legend { font-size: 13px; display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0 4px; color: var(--soft) }
.legend i { display: inline-block; width: 12px; height: 12px; margin-right: 6px; vertical-align: -1px }
figure { margin: 12px 0 0 } figcaption { font-size: 13px; color: var(--soft); max-width: 860px }
svg { display: block; width: 100%; height: auto } .narrow { display: none }
text { font: 12.5px system-ui, 'DejaVu Sans', sans-serif; fill: var(--ink) } text.axis, tspan.axis { font-size: 11.5px; fill: var(--faint) }
text.host { font-weight: 600 } tspan.axis { font-weight: normal } text.row { fill: var(--soft) } text.state { font-size: 11.5px; fill: var(--soft) }
text.downtime { fill: var(--soft); font-weight: 600 } tspan.what { font-weight: 600 } text.number { font-size: 11.5px }
text.number, text.row, text.mark, text.host, text.state { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round }
line.grid { stroke: var(--rule) } line.base, line.tick { stroke: var(--line) } rect.down { fill: var(--down) }
text.s0 { stroke: var(--state0) } text.s1 { stroke: var(--state1) } rect.state.s0 { fill: var(--state0) } rect.state.s1 { fill: var(--state1) } rect.hint { fill: transparent }
rect.hint:hover { fill: var(--ink); fill-opacity: .08 } path.torn { fill: none; stroke: var(--paper); stroke-width: 2 }
line.mark { stroke: var(--ink); stroke-width: 1 } line.cut { stroke-dasharray: 3 2 } line.gate { stroke: var(--good); stroke-dasharray: 5 2 } line.rarp { stroke-dasharray: 1 2 }
line.end { stroke: var(--line) } line.stop, line.resume { stroke-width: 1.4 }
.captured { fill: var(--captured); background: var(--captured) } .sent { fill: var(--sent); background: var(--sent) }
.came { fill: var(--came); background: var(--came) } .injected { fill: var(--injected); background: var(--injected) }
.direct { fill: var(--direct); background: var(--direct) } .deduplicated { fill: var(--deduplicated); background: var(--deduplicated) }
footer { margin-top: 40px; border-top: 1px solid var(--rule); padding-top: 8px; font-size: 13px; color: var(--soft) }
@media (max-width: 760px) { body { margin-top: 16px; padding: 0 16px } h1 { font-size: 21px } .sides { grid-template-columns: 1fr }
  .wide { display: none } .narrow { display: block } span.narrow { display: inline } }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 12px } h2 { break-after: avoid } figure, tr, .verdict { break-inside: avoid }
  .wide { display: block } span.wide { display: inline } .narrow { display: none } .sides { grid-template-columns: 1fr 1fr } }
`
