(document (section (atx_heading) @heading))
(document (section (setext_heading) @heading))
(section (section (atx_heading) @heading))
(section (section (setext_heading) @heading))
(fenced_code_block) @fence
