<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de" sourcelanguage="en">
 <context>
  <name>Geofootprint</name>
  <message>
   <source>Buildings</source>
   <translation>Gebäude</translation>
  </message>
  <message>
   <source>Training</source>
   <translation>Training</translation>
  </message>
  <message>
   <source>The extent and the area of interest do not meet; choose an extent with some of its polygons, or none at all.</source>
   <translation>Die Ausdehnung und das Interessensgebiet überschneiden sich nicht; wählen Sie eine Ausdehnung mit mindestens einem seiner Polygone, oder keine.</translation>
  </message>
  <message>
   <source>The layer {layer} comes from a service, not from a raster file; export it to a GeoTIFF (Layer &gt; Save As) and take that.</source>
   <translation>Der Layer {layer} kommt von einem Dienst und nicht aus einer Rasterdatei; exportieren Sie ihn als GeoTIFF (Layer &gt; Speichern als) und wählen Sie dieses.</translation>
  </message>
  <message>
   <source>The extent lies outside the layer {layer}; choose one on it.</source>
   <translation>Die Ausdehnung liegt außerhalb des Layers {layer}; wählen Sie eine auf ihm.</translation>
  </message>
  <message>
   <source>Engine: {} ({})</source>
   <translation>Engine: {} ({})</translation>
  </message>
  <message>
   <source>Evaluate Footprints</source>
   <translation>Gebäudeumrisse bewerten</translation>
  </message>
  <message>
   <source>Compares footprints with the truth: scores, and a report with pictures.</source>
   <translation>Vergleicht Gebäudeumrisse mit den wahren: Kennzahlen und ein Bericht mit Bildern.</translation>
  </message>
  <message>
   <source>Compares footprints with true ones, such as a cadastre. Scores pixels (IoU, precision, recall), buildings paired one to one at an IoU of 0.5, and the outlines of the pairs, and writes a report with pictures of what was missed.

Without an area of interest everything in both layers counts: give the area where the truth is complete.</source>
   <translation>Vergleicht Gebäudeumrisse mit wahren, etwa aus dem Kataster. Bewertet Pixel (IoU, Genauigkeit, Trefferquote), Gebäude, die ab einer IoU von 0,5 eins zu eins gepaart werden, und die Umrisse der Paare, und schreibt einen Bericht mit Bildern dessen, was übersehen wurde.

Ohne Interessensgebiet zählt alles in beiden Layern: Geben Sie das Gebiet an, in dem die Wahrheit vollständig ist.</translation>
  </message>
  <message>
   <source>building,footprint,evaluate,accuracy,score,IoU,F1,precision,recall,quality,cadastre</source>
   <translation>Gebäude,Gebäudeumriss,Bewertung,Genauigkeit,Kennzahl,IoU,F1,Trefferquote,Qualität,Kataster</translation>
  </message>
  <message>
   <source>IoU of pixels</source>
   <translation>IoU der Pixel</translation>
  </message>
  <message>
   <source>Precision of pixels</source>
   <translation>Genauigkeit der Pixel (Precision)</translation>
  </message>
  <message>
   <source>Recall of pixels</source>
   <translation>Trefferquote der Pixel (Recall)</translation>
  </message>
  <message>
   <source>F1 of buildings</source>
   <translation>F1 der Gebäude</translation>
  </message>
  <message>
   <source>Precision of buildings</source>
   <translation>Genauigkeit der Gebäude (Precision)</translation>
  </message>
  <message>
   <source>Recall of buildings</source>
   <translation>Trefferquote der Gebäude (Recall)</translation>
  </message>
  <message>
   <source>Number of buildings judged</source>
   <translation>Anzahl der bewerteten Gebäude</translation>
  </message>
  <message>
   <source>Number of true buildings</source>
   <translation>Anzahl der wahren Gebäude</translation>
  </message>
  <message>
   <source>Footprints to judge</source>
   <translation>Zu bewertende Gebäudeumrisse</translation>
  </message>
  <message>
   <source>Polygons of buildings, in any CRS.</source>
   <translation>Polygone von Gebäuden in beliebigem KBS.</translation>
  </message>
  <message>
   <source>True footprints</source>
   <translation>Wahre Gebäudeumrisse</translation>
  </message>
  <message>
   <source>Polygons of all buildings in the area, in any CRS.</source>
   <translation>Polygone aller Gebäude im Gebiet in beliebigem KBS.</translation>
  </message>
  <message>
   <source>Gets report.html, scores.json and matches.gpkg.</source>
   <translation>Enthält danach report.html, scores.json und matches.gpkg.</translation>
  </message>
  <message>
   <source>Report</source>
   <translation>Bericht</translation>
  </message>
  <message>
   <source>Scores as JSON</source>
   <translation>Kennzahlen als JSON</translation>
  </message>
  <message>
   <source>Footprints found, missed and invented</source>
   <translation>Gefundene, übersehene und erfundene Gebäude</translation>
  </message>
  <message>
   <source>Orthophoto for the report's pictures.</source>
   <translation>Orthofoto für die Bilder des Berichts.</translation>
  </message>
  <message>
   <source>Metres per pixel at which pixels are counted.</source>
   <translation>Meter pro Pixel, mit denen Pixel gezählt werden.</translation>
  </message>
  <message>
   <source>Folder of the report</source>
   <translation>Ordner des Berichts</translation>
  </message>
  <message>
   <source>Pixel size (m)</source>
   <translation>Pixelgröße (m)</translation>
  </message>
  <message>
   <source>Export Model</source>
   <translation>Modell exportieren</translation>
  </message>
  <message>
   <source>Makes a model file of a checkpoint.</source>
   <translation>Macht aus einem Checkpoint eine Modelldatei.</translation>
  </message>
  <message>
   <source>Writes the network of a checkpoint as an ONNX file that describes itself: Segment Buildings takes it, on computers without PyTorch too.</source>
   <translation>Schreibt das Netz eines Checkpoints als ONNX-Datei, die sich selbst beschreibt: „Gebäude erkennen“ kann sie verwenden, auch auf Rechnern ohne PyTorch.</translation>
  </message>
  <message>
   <source>export,model,ONNX,checkpoint,deep learning,AI,building</source>
   <translation>Export,Modell,ONNX,Checkpoint,Deep Learning,KI,Gebäude</translation>
  </message>
  <message>
   <source>Such as best.ckpt in the folder of a run.</source>
   <translation>Etwa best.ckpt im Ordner eines Laufs.</translation>
  </message>
  <message>
   <source>Of the model. If empty, the run's folder.</source>
   <translation>Des Modells. Wenn leer, der Ordner des Laufs.</translation>
  </message>
  <message>
   <source>Of the model.</source>
   <translation>Des Modells.</translation>
  </message>
  <message>
   <source>An ONNX file.</source>
   <translation>Eine ONNX-Datei.</translation>
  </message>
  <message>
   <source>Checkpoint</source>
   <translation>Checkpoint</translation>
  </message>
  <message>
   <source>Name</source>
   <translation>Name</translation>
  </message>
  <message>
   <source>Licence</source>
   <translation>Lizenz</translation>
  </message>
  <message>
   <source>What it was trained on. If empty, the datasets' images.</source>
   <translation>Womit trainiert wurde. Wenn leer, die Bilder der Datensätze.</translation>
  </message>
  <message>
   <source>That Segment Buildings takes. If not set, validation's best.</source>
   <translation>Den „Gebäude erkennen“ verwendet. Wenn nicht gesetzt, der beste der Validierung.</translation>
  </message>
  <message>
   <source>What the network sees at once.</source>
   <translation>Was das Netz auf einmal sieht.</translation>
  </message>
  <message>
   <source>Pixels that neighbouring patches share.</source>
   <translation>Pixel, die benachbarte Ausschnitte gemeinsam haben.</translation>
  </message>
  <message>
   <source>Stores the weights in 16 bits.</source>
   <translation>Speichert die Gewichte mit 16 Bit.</translation>
  </message>
  <message>
   <source>Fixes the size and adds a background channel.</source>
   <translation>Legt die Größe fest und fügt einen Kanal für den Hintergrund hinzu.</translation>
  </message>
  <message>
   <source>Dataset by whose training tiles this is set up, and on whose validation tiles the loss is measured.</source>
   <translation>Datensatz, mit dessen Trainingskacheln das eingestellt und an dessen Validierungskacheln der Verlust gemessen wird.</translation>
  </message>
  <message>
   <source>In IoU; with more, no file is made. If not set, 0.01.</source>
   <translation>Als IoU; bei mehr entsteht keine Datei. Ohne Angabe 0,01.</translation>
  </message>
  <message>
   <source>Model file</source>
   <translation>Modelldatei</translation>
  </message>
  <message>
   <source>Data</source>
   <translation>Daten</translation>
  </message>
  <message>
   <source>Size of a patch in pixels</source>
   <translation>Größe eines Ausschnitts in Pixeln</translation>
  </message>
  <message>
   <source>Overlap in pixels</source>
   <translation>Überlappung in Pixeln</translation>
  </message>
  <message>
   <source>Half the size</source>
   <translation>Halbe Größe</translation>
  </message>
  <message>
   <source>For the plugin Deepness</source>
   <translation>Für das Plugin Deepness</translation>
  </message>
  <message>
   <source>Compute in 8 bits</source>
   <translation>Mit 8 Bit rechnen</translation>
  </message>
  <message>
   <source>Largest loss of 8 bits</source>
   <translation>Größter Verlust durch 8 Bit</translation>
  </message>
  <message>
   <source>Make Demo Scene</source>
   <translation>Demoszene erzeugen</translation>
  </message>
  <message>
   <source>Makes up an orthophoto, finds its buildings, and compares them with the true ones.</source>
   <translation>Erfindet ein Orthofoto, sucht seine Gebäude und vergleicht sie mit den wahren.</translation>
  </message>
  <message>
   <source>Makes up an orthophoto, finds its buildings, and compares them with the true ones: all that is needed to see what this plugin does, without any data. The image and the buildings are added to the map.</source>
   <translation>Erfindet ein Orthofoto, sucht seine Gebäude und vergleicht sie mit den wahren: alles, was man braucht, um ohne eigene Daten zu sehen, was dieses Plugin kann. Das Bild und die Gebäude werden der Karte hinzugefügt.</translation>
  </message>
  <message>
   <source>demo,example,test,try,scene,building,orthophoto</source>
   <translation>Demo,Beispiel,Test,ausprobieren,Szene,Gebäude,Orthofoto</translation>
  </message>
  <message>
   <source>{count} buildings found where {true_count} stand.</source>
   <translation>{count} Gebäude gefunden, wo {true_count} stehen.</translation>
  </message>
  <message>
   <source>What kind of place it is.</source>
   <translation>Was für ein Ort es ist.</translation>
  </message>
  <message>
   <source>Sides of the image; a pixel is 0.15 m.</source>
   <translation>Seitenlänge des Bildes; ein Pixel ist 0,15 m groß.</translation>
  </message>
  <message>
   <source>Another number, another place.</source>
   <translation>Andere Zahl, anderer Ort.</translation>
  </message>
  <message>
   <source>Gets the orthophoto, true buildings and those that were found, a picture, and a report.</source>
   <translation>Enthält danach das Orthofoto, die wahren und die gefundenen Gebäude, ein Bild und einen Bericht.</translation>
  </message>
  <message>
   <source>Orthophoto</source>
   <translation>Orthofoto</translation>
  </message>
  <message>
   <source>Number of buildings</source>
   <translation>Anzahl der Gebäude</translation>
  </message>
  <message>
   <source>Settlement</source>
   <translation>Siedlung</translation>
  </message>
  <message>
   <source>Size in pixels</source>
   <translation>Größe in Pixeln</translation>
  </message>
  <message>
   <source>Seed</source>
   <translation>Startwert</translation>
  </message>
  <message>
   <source>Folder of the scene</source>
   <translation>Ordner der Szene</translation>
  </message>
  <message>
   <source>Looking at the image</source>
   <translation>Das Bild wird betrachtet</translation>
  </message>
  <message>
   <source>Writing overviews</source>
   <translation>Übersichten werden geschrieben</translation>
  </message>
  <message>
   <source>Drawing outlines</source>
   <translation>Umrisse werden gezeichnet</translation>
  </message>
  <message>
   <source>Joining buildings</source>
   <translation>Gebäude werden zusammengefügt</translation>
  </message>
  <message>
   <source>Straightening outlines</source>
   <translation>Umrisse werden begradigt</translation>
  </message>
  <message>
   <source>Reading the raster</source>
   <translation>Das Raster wird gelesen</translation>
  </message>
  <message>
   <source>Comparing pixels</source>
   <translation>Pixel werden verglichen</translation>
  </message>
  <message>
   <source>Drawing the report</source>
   <translation>Der Bericht wird gezeichnet</translation>
  </message>
  <message>
   <source>Making a scene</source>
   <translation>Eine Szene wird erzeugt</translation>
  </message>
  <message>
   <source>Validating</source>
   <translation>Validierung</translation>
  </message>
  <message>
   <source>Exporting the model</source>
   <translation>Das Modell wird exportiert</translation>
  </message>
  <message>
   <source>Measuring what 8 bits lose</source>
   <translation>Der Verlust durch 8 Bit wird gemessen</translation>
  </message>
  <message>
   <source>Labels of {}</source>
   <translation>Label von {}</translation>
  </message>
  <message>
   <source>Tiles of {}</source>
   <translation>Kacheln von {}</translation>
  </message>
  <message>
   <source>{stage}: {percent} % done, about {time} left</source>
   <translation>{stage}: {percent} % fertig, noch etwa {time}</translation>
  </message>
  <message>
   <source>{:.1f} h</source>
   <translation>{:.1f} h</translation>
  </message>
  <message>
   <source>{} s</source>
   <translation>{} s</translation>
  </message>
  <message>
   <source>{} min</source>
   <translation>{} min</translation>
  </message>
  <message>
   <source>map: regular, with right angles and few vertices. area: also keeps the area of each building.</source>
   <translation>map: regelmäßig, mit rechten Winkeln und wenigen Eckpunkten. area: erhält auch die Fläche jedes Gebäudes.</translation>
  </message>
  <message>
   <source>Bands for red, green and blue, in this order. If empty, the first three.</source>
   <translation>Bänder für Rot, Grün und Blau in dieser Reihenfolge. Wenn leer, die ersten drei.</translation>
  </message>
  <message>
   <source>Only this rectangle is looked at. Needed for a map service, which QGIS draws for it first.</source>
   <translation>Nur dieses Rechteck wird betrachtet. Nötig bei einem Kartendienst, den QGIS dafür zuerst zeichnet.</translation>
  </message>
  <message>
   <source>Polygons; what is outside is left out.</source>
   <translation>Polygone; was außerhalb liegt, wird weggelassen.</translation>
  </message>
  <message>
   <source>A model of your own, as Export Model makes it. If empty, the one that comes with geofootprint.</source>
   <translation>Ein eigenes Modell, wie „Modell exportieren“ es macht. Wenn leer, das mitgelieferte von geofootprint.</translation>
  </message>
  <message>
   <source>Probability from which a pixel is building, 0 to 1. A lower one finds more buildings, a higher one finds fewer by mistake. If not set, the model's own.</source>
   <translation>Wahrscheinlichkeit von 0 bis 1, ab der ein Pixel Gebäude ist. Ein niedrigerer Schwellenwert findet mehr Gebäude, ein höherer weniger falsche. Wenn nicht gesetzt, der des Modells.</translation>
  </message>
  <message>
   <source>Smaller buildings are left out.</source>
   <translation>Kleinere Gebäude werden weggelassen.</translation>
  </message>
  <message>
   <source>Bands</source>
   <translation>Bänder</translation>
  </message>
  <message>
   <source>The contour lies inside the building and separates houses that share a wall.</source>
   <translation>Die Kontur liegt innerhalb des Gebäudes und trennt Häuser mit gemeinsamer Wand.</translation>
  </message>
  <message>
   <source>Raster with the bands red, green and blue. Its CRS is the one set in QGIS.</source>
   <translation>Raster mit den Bändern Rot, Grün und Blau. Es gilt das KBS, das in QGIS gesetzt ist.</translation>
  </message>
  <message>
   <source>Extent</source>
   <translation>Ausdehnung</translation>
  </message>
  <message>
   <source>Area of interest</source>
   <translation>Interessensgebiet</translation>
  </message>
  <message>
   <source>Threshold</source>
   <translation>Schwellenwert</translation>
  </message>
  <message>
   <source>Minimum area (m²)</source>
   <translation>Mindestfläche (m²)</translation>
  </message>
  <message>
   <source>raw: the contour line of the probabilities.</source>
   <translation>raw: die Isolinie der Wahrscheinlichkeiten.</translation>
  </message>
  <message>
   <source>Outline style</source>
   <translation>Stil der Umrisse</translation>
  </message>
  <message>
   <source>Averages over eight turned and mirrored versions of the image: a little better, eight times slower.</source>
   <translation>Mittelt über acht gedrehte und gespiegelte Fassungen des Bildes: etwas besser, achtmal langsamer.</translation>
  </message>
  <message>
   <source>What computes: auto takes an NVIDIA graphics card if the engine can use it.</source>
   <translation>Womit gerechnet wird: auto nimmt eine NVIDIA-Grafikkarte, wenn die Engine sie nutzen kann.</translation>
  </message>
  <message>
   <source>Polygons with confidence, area, perimeter and more.</source>
   <translation>Polygone mit Konfidenz, Fläche, Umfang und mehr.</translation>
  </message>
  <message>
   <source>Width of the contour in pixels</source>
   <translation>Breite der Kontur in Pixeln</translation>
  </message>
  <message>
   <source>Test-time augmentation</source>
   <translation>Mittelung beim Anwenden (TTA)</translation>
  </message>
  <message>
   <source>Device</source>
   <translation>Gerät</translation>
  </message>
  <message>
   <source>Predict Probabilities</source>
   <translation>Wahrscheinlichkeiten berechnen</translation>
  </message>
  <message>
   <source>Writes how probable a building is at each pixel of an orthophoto.</source>
   <translation>Schreibt, wie wahrscheinlich an jedem Pixel eines Orthofotos ein Gebäude ist.</translation>
  </message>
  <message>
   <source>Writes how probable buildings and their contours are at each pixel of an orthophoto: the first half of Segment Buildings. Vectorize Probabilities is the second, and is quick: so outlines can be drawn again with another threshold.

The raster has pixels of the model's size, a band for buildings and one for contours, and values from 0 to 255.</source>
   <translation>Schreibt, wie wahrscheinlich an jedem Pixel eines Orthofotos Gebäude und ihre Konturen sind: die erste Hälfte von „Gebäude erkennen“. „Wahrscheinlichkeiten vektorisieren“ ist die zweite und geht schnell: So lassen sich Umrisse mit einem anderen Schwellenwert neu zeichnen.

Das Raster hat Pixel von der Größe des Modells, ein Band für Gebäude und eines für Konturen, und Werte von 0 bis 255.</translation>
  </message>
  <message>
   <source>building,probability,segmentation,deep learning,AI,orthophoto,aerial,heat map</source>
   <translation>Gebäude,Wahrscheinlichkeit,Segmentierung,Deep Learning,KI,Orthofoto,Luftbild,Heatmap</translation>
  </message>
  <message>
   <source>A GeoTIFF with overviews.</source>
   <translation>Ein GeoTIFF mit Übersichten.</translation>
  </message>
  <message>
   <source>Probabilities</source>
   <translation>Wahrscheinlichkeiten</translation>
  </message>
  <message>
   <source>Rasterize Labels</source>
   <translation>Label rastern</translation>
  </message>
  <message>
   <source>Burns footprints into a label raster on the grid of an orthophoto.</source>
   <translation>Rastert Gebäudeumrisse als Label auf das Gitter eines Orthofotos.</translation>
  </message>
  <message>
   <source>Burns building footprints into a raster on exactly the grid of an orthophoto, to train or to test a model with: 0 is background, 1 building, 2 the building's contour, 255 where there is no image.</source>
   <translation>Rastert Gebäudeumrisse auf genau das Gitter eines Orthofotos, um damit ein Modell zu trainieren oder zu prüfen: 0 ist Hintergrund, 1 Gebäude, 2 die Kontur des Gebäudes, 255 wo kein Bild ist.</translation>
  </message>
  <message>
   <source>building,footprint,label,rasterize,burn,mask,training data,orthophoto,contour</source>
   <translation>Gebäude,Gebäudeumriss,Label,rastern,Maske,Trainingsdaten,Orthofoto,Kontur</translation>
  </message>
  <message>
   <source>Footprints</source>
   <translation>Gebäudeumrisse</translation>
  </message>
  <message>
   <source>contour: 0 background, 1 building, 2 contour. mask: 0 and 1. channels: a band for buildings and one for contours.</source>
   <translation>contour: 0 Hintergrund, 1 Gebäude, 2 Kontur. mask: 0 und 1. channels: je ein Band für Gebäude und Konturen.</translation>
  </message>
  <message>
   <source>A pixel belongs to a building if any part of it lies inside, and not its centre.</source>
   <translation>Ein Pixel gehört zu einem Gebäude, wenn irgendein Teil davon innerhalb liegt und nicht nur seine Mitte.</translation>
  </message>
  <message>
   <source>A GeoTIFF of small whole numbers.</source>
   <translation>Ein GeoTIFF aus kleinen ganzen Zahlen.</translation>
  </message>
  <message>
   <source>Raster whose grid the labels get.</source>
   <translation>Raster, dessen Gitter die Label bekommen.</translation>
  </message>
  <message>
   <source>Scheme</source>
   <translation>Schema</translation>
  </message>
  <message>
   <source>All touched pixels</source>
   <translation>Alle berührten Pixel</translation>
  </message>
  <message>
   <source>Labels</source>
   <translation>Label</translation>
  </message>
  <message>
   <source>The layer {layer} is a map service without end; choose an extent, or polygons as area of interest.</source>
   <translation>Der Layer {layer} ist ein Kartendienst ohne Ende; wählen Sie eine Ausdehnung, oder Polygone als Interessensgebiet.</translation>
  </message>
  <message>
   <source>The layer {layer} cannot be read; its file was moved, or is no image.</source>
   <translation>Der Layer {layer} kann nicht gelesen werden; seine Datei wurde verschoben oder ist kein Bild.</translation>
  </message>
  <message>
   <source>The layer {layer} has no CRS; set the one it was made in (Layer &gt; Set CRS of Layer(s)).</source>
   <translation>Der Layer {layer} hat kein KBS; setzen Sie das, in dem er erstellt wurde (Layer &gt; KBS von Layer(n) setzen).</translation>
  </message>
  <message>
   <source>The file of the layer {layer} is no longer there: {path}. Put it back, or add the layer anew from where the file is now.</source>
   <translation>Die Datei des Layers {layer} gibt es nicht mehr: {path}. Legen Sie sie zurück, oder fügen Sie den Layer von dort neu hinzu, wo die Datei jetzt liegt.</translation>
  </message>
  <message>
   <source>Cancelled; nothing was written.</source>
   <translation>Abgebrochen; es wurde nichts geschrieben.</translation>
  </message>
  <message>
   <source>The extent has {width} x {height} pixels of {gsd} m, too many to fetch from the service {layer}; choose one of at most {side} m by {side} m.</source>
   <translation>Die Ausdehnung hat {width} x {height} Pixel von {gsd} m, zu viele, um sie vom Dienst {layer} zu holen; wählen Sie eine von höchstens {side} m mal {side} m.</translation>
  </message>
  <message>
   <source>Fetching the image ...</source>
   <translation>Das Bild wird geholt ...</translation>
  </message>
  <message>
   <source>The image of the service {layer} could not be written; is the disk of {path} full?</source>
   <translation>Das Bild des Dienstes {layer} konnte nicht geschrieben werden; ist der Datenträger von {path} voll?</translation>
  </message>
  <message>
   <source>The service {layer} gave no image for the extent; check its address and the extent.</source>
   <translation>Der Dienst {layer} lieferte kein Bild für die Ausdehnung; prüfen Sie seine Adresse und die Ausdehnung.</translation>
  </message>
  <message>
   <source>The layer {layer} cannot be given another CRS or other bands, since the name of its file has a question mark; export it to a GeoTIFF and take that.</source>
   <translation>Dem Layer {layer} kann kein anderes KBS und können keine anderen Bänder gegeben werden, weil der Name seiner Datei ein Fragezeichen hat; exportieren Sie ihn als GeoTIFF und wählen Sie dieses.</translation>
  </message>
  <message>
   <source>QGIS draws {width} x {height} pixels of {gsd} m from the service {layer}: {megabytes} MB at most.</source>
   <translation>QGIS zeichnet {width} x {height} Pixel von {gsd} m aus dem Dienst {layer}: höchstens {megabytes} MB.</translation>
  </message>
  <message>
   <source>The service {layer} gave no image for about {percent} % of the extent, and no buildings are found there. If there should be one, run again: the service did not answer all requests.</source>
   <translation>Der Dienst {layer} lieferte für etwa {percent} % der Ausdehnung kein Bild; dort werden keine Gebäude gefunden. Sollte es dort eines geben, starten Sie erneut: Der Dienst hat nicht alle Anfragen beantwortet.</translation>
  </message>
  <message>
   <source>Regularize Footprints</source>
   <translation>Gebäudeumrisse begradigen</translation>
  </message>
  <message>
   <source>Straightens the outlines of buildings that anybody drew.</source>
   <translation>Begradigt die Umrisse von Gebäuden, die irgendjemand gezeichnet hat.</translation>
  </message>
  <message>
   <source>Draws footprints again with straight walls, right angles and round shapes where they have them. Walls that two buildings share, or nearly share, are drawn once; overlaps are taken away. Columns are kept; method, vertices, area_m2 and perimeter are told anew. No image is needed.</source>
   <translation>Zeichnet Gebäudeumrisse neu, mit geraden Wänden, rechten Winkeln und runden Formen, wo sie welche haben. Wände, die zwei Gebäude gemeinsam oder fast gemeinsam haben, werden einmal gezeichnet; Überlappungen werden entfernt. Spalten bleiben erhalten; method, vertices, area_m2 und perimeter werden neu berechnet. Ein Bild ist nicht nötig.</translation>
  </message>
  <message>
   <source>building,footprint,regularize,orthogonalize,simplify,right angle,clean,topology</source>
   <translation>Gebäude,Gebäudeumriss,begradigen,rechtwinklig,vereinfachen,bereinigen,Topologie</translation>
  </message>
  <message>
   <source>Shorter edges and steps count as noise. If not set, it is told from the outlines.</source>
   <translation>Kürzere Kanten und Stufen gelten als Rauschen. Wenn nicht gesetzt, wird der Wert aus den Umrissen bestimmt.</translation>
  </message>
  <message>
   <source>Polygons with the columns of the footprints; method, vertices, area_m2 and perimeter are told anew.</source>
   <translation>Polygone mit den Spalten der Gebäudeumrisse; method, vertices, area_m2 und perimeter werden neu berechnet.</translation>
  </message>
  <message>
   <source>Tolerance (m)</source>
   <translation>Toleranz (m)</translation>
  </message>
  <message>
   <source>The output {out} could not be written; is its disk full? {reason}</source>
   <translation>Die Ausgabe {out} konnte nicht geschrieben werden; ist ihr Datenträger voll? {reason}</translation>
  </message>
  <message>
   <source>QGIS cannot read what the engine wrote: {path}</source>
   <translation>QGIS kann nicht lesen, was die Engine geschrieben hat: {path}</translation>
  </message>
  <message>
   <source>Not all buildings could be added to {out}; is its disk full, or does it refuse a value? What it held before is still there. {reason}</source>
   <translation>Nicht alle Gebäude konnten zu {out} hinzugefügt werden; ist der Datenträger voll, oder ist ein Wert dort nicht erlaubt? Was vorher darin war, ist noch da. {reason}</translation>
  </message>
  <message>
   <source>Segment Buildings</source>
   <translation>Gebäude erkennen</translation>
  </message>
  <message>
   <source>Finds buildings in an orthophoto and draws their outlines.</source>
   <translation>Findet Gebäude in einem Orthofoto und zeichnet ihre Umrisse.</translation>
  </message>
  <message>
   <source>Finds buildings in an orthophoto and draws their outlines as polygons, each with a confidence from 0 to 1: the probability that a real building is there.

The orthophoto needs red, green and blue, a CRS, and pixels of about 0.1 to 0.3 m. It may also be a map service (WMS, XYZ tiles): then choose an extent. Everything is computed on this computer.</source>
   <translation>Findet Gebäude in einem Orthofoto und zeichnet ihre Umrisse als Polygone, jedes mit einer Konfidenz von 0 bis 1: der Wahrscheinlichkeit, dass dort wirklich ein Gebäude steht.

Das Orthofoto braucht Rot, Grün und Blau, ein KBS und Pixel von etwa 0,1 bis 0,3 m. Es kann auch ein Kartendienst sein (WMS, XYZ-Kacheln): Wählen Sie dann eine Ausdehnung. Alles wird auf diesem Rechner berechnet.</translation>
  </message>
  <message>
   <source>building,footprint,house,roof,segmentation,deep learning,AI,orthophoto,aerial,extract,outline</source>
   <translation>Gebäude,Gebäudeumriss,Haus,Dach,Segmentierung,Deep Learning,KI,Orthofoto,Luftbild,Umriss</translation>
  </message>
  <message>
   <source>{} building found.</source>
   <translation>{} Gebäude gefunden.</translation>
  </message>
  <message>
   <source>{} buildings found.</source>
   <translation>{} Gebäude gefunden.</translation>
  </message>
  <message>
   <source>Their area in m²</source>
   <translation>Ihre Fläche in m²</translation>
  </message>
  <message>
   <source>{out} cannot be written: there is no folder {folder}; make it first, or choose another one.</source>
   <translation>{out} kann nicht geschrieben werden: Den Ordner {folder} gibt es nicht; legen Sie ihn an oder wählen Sie einen anderen.</translation>
  </message>
  <message>
   <source>{out} cannot be written: you may not write in the folder {folder}; choose another one.</source>
   <translation>{out} kann nicht geschrieben werden: Im Ordner {folder} dürfen Sie nicht schreiben; wählen Sie einen anderen.</translation>
  </message>
  <message>
   <source>{out} cannot be written: DXF has no columns; choose another format.</source>
   <translation>{out} kann nicht geschrieben werden: DXF kennt keine Attributfelder; wählen Sie ein anderes Format.</translation>
  </message>
  <message>
   <source>The disk of {out} is full; make room for {megabytes} MB.</source>
   <translation>Der Datenträger von {out} ist voll; schaffen Sie Platz für {megabytes} MB.</translation>
  </message>
  <message>
   <source>{out} is itself read for the result; give the result another name.</source>
   <translation>{out} wird für das Ergebnis selbst gelesen; geben Sie dem Ergebnis einen anderen Namen.</translation>
  </message>
  <message>
   <source>Number of tiles</source>
   <translation>Anzahl der Kacheln</translation>
  </message>
  <message>
   <source>Tiles for training</source>
   <translation>Kacheln für das Training</translation>
  </message>
  <message>
   <source>Tiles for validation</source>
   <translation>Kacheln für die Validierung</translation>
  </message>
  <message>
   <source>Tiles for testing</source>
   <translation>Kacheln für den Test</translation>
  </message>
  <message>
   <source>Tile Orthophoto</source>
   <translation>Orthofoto kacheln</translation>
  </message>
  <message>
   <source>Cuts orthophotos and footprints into georeferenced tiles with labels, to train a model with.</source>
   <translation>Schneidet Orthofotos und Gebäudeumrisse in georeferenzierte Kacheln mit Labeln, um ein Modell zu trainieren.</translation>
  </message>
  <message>
   <source>Cuts orthophotos and footprints into pairs of image and label tiles, with an index that says where each lies and whether it is for training, validation or test. That goes by blocks of ground, so that tiles of different kinds are seldom next to each other.

Train Model takes the folder.</source>
   <translation>Schneidet Orthofotos und Gebäudeumrisse in Paare von Bild- und Labelkacheln, mit einem Verzeichnis, wo jede liegt und ob sie für Training, Validierung oder Test ist. Das geht nach Blöcken im Gelände, sodass Kacheln verschiedener Art selten nebeneinander liegen.

„Modell trainieren“ verwendet den Ordner.</translation>
  </message>
  <message>
   <source>building,tile,dataset,training data,orthophoto,label,split,deep learning</source>
   <translation>Gebäude,Kachel,Datensatz,Trainingsdaten,Orthofoto,Label,Aufteilung,Deep Learning</translation>
  </message>
  <message>
   <source>Rasters with the same bands, in any CRS each. Their CRS is the one set in QGIS.</source>
   <translation>Raster mit denselben Bändern, jedes in beliebigem KBS. Es gilt das KBS, das in QGIS gesetzt ist.</translation>
  </message>
  <message>
   <source>Polygons of all buildings on the orthophotos, in any CRS.</source>
   <translation>Polygone aller Gebäude auf den Orthofotos in beliebigem KBS.</translation>
  </message>
  <message>
   <source>Metres per pixel on the ground. If not set, the image's own.</source>
   <translation>Meter pro Pixel am Boden. Wenn nicht gesetzt, die des Bildes.</translation>
  </message>
  <message>
   <source>Of its sides.</source>
   <translation>Ihrer Seiten.</translation>
  </message>
  <message>
   <source>Pixels that neighbouring tiles share.</source>
   <translation>Pixel, die benachbarte Kacheln gemeinsam haben.</translation>
  </message>
  <message>
   <source>Three numbers with commas between them; together 1.</source>
   <translation>Drei Zahlen mit Beistrichen dazwischen; zusammen 1.</translation>
  </message>
  <message>
   <source>Gets the tiles and their index.</source>
   <translation>Enthält danach die Kacheln und ihr Verzeichnis.</translation>
  </message>
  <message>
   <source>Orthophotos</source>
   <translation>Orthofotos</translation>
  </message>
  <message>
   <source>Size of a tile in pixels</source>
   <translation>Größe einer Kachel in Pixeln</translation>
  </message>
  <message>
   <source>Shares for training, validation, test</source>
   <translation>Anteile für Training, Validierung, Test</translation>
  </message>
  <message>
   <source>A block goes to one share as a whole. If not set, the widest that gives 20 blocks, at most 500 m.</source>
   <translation>Ein Block gehört als Ganzes zu einem Anteil. Wenn nicht gesetzt, die größten, die 20 Blöcke ergeben, höchstens 500 m.</translation>
  </message>
  <message>
   <source>Tiles with less of it are left out, 0 to 1.</source>
   <translation>Kacheln mit weniger werden weggelassen, 0 bis 1.</translation>
  </message>
  <message>
   <source>tirol: tiles show 675 pixels of the image, resampled; instead of a pixel size.</source>
   <translation>tirol: Kacheln zeigen 675 Pixel des Bildes, umgerechnet; statt einer Pixelgröße.</translation>
  </message>
  <message>
   <source>Of the choice of blocks.</source>
   <translation>Für die Wahl der Blöcke.</translation>
  </message>
  <message>
   <source>Folder of the dataset</source>
   <translation>Ordner des Datensatzes</translation>
  </message>
  <message>
   <source>Side of the blocks of ground (m)</source>
   <translation>Seitenlänge der Blöcke im Gelände (m)</translation>
  </message>
  <message>
   <source>Least share of building</source>
   <translation>Mindestanteil an Gebäuden</translation>
  </message>
  <message>
   <source>Recipe</source>
   <translation>Rezept</translation>
  </message>
  <message>
   <source>Train Model</source>
   <translation>Modell trainieren</translation>
  </message>
  <message>
   <source>Fits the model to datasets of tiles.</source>
   <translation>Passt das Modell an Datensätze aus Kacheln an.</translation>
  </message>
  <message>
   <source>Fits the model to datasets that Tile Orthophoto made. The folder of the run gets checkpoints, scores, pictures of some predictions and all settings; Export Model makes a model file of a checkpoint.

A run that was cancelled goes on with 'Go on with the run in the folder'. The engine needs PyTorch, and a graphics card saves days.</source>
   <translation>Passt das Modell an Datensätze an, die „Orthofoto kacheln“ gemacht hat. Der Ordner des Laufs enthält danach Checkpoints, Kennzahlen, Bilder einiger Vorhersagen und alle Einstellungen; „Modell exportieren“ macht aus einem Checkpoint eine Modelldatei.

Ein abgebrochener Lauf geht mit „Den Lauf im Ordner fortsetzen“ weiter. Die Engine braucht PyTorch, und eine Grafikkarte spart Tage.</translation>
  </message>
  <message>
   <source>train,fit,model,deep learning,AI,pix2pix,building,dataset</source>
   <translation>Training,Modell,Deep Learning,KI,Pix2Pix,Gebäude,Datensatz</translation>
  </message>
  <message>
   <source>A run starts from one model: give a file to start from, or the default model, not both.</source>
   <translation>Ein Lauf geht von einem einzigen Modell aus: Geben Sie eine Datei an, von der er ausgeht, oder das Standardmodell, nicht beides.</translation>
  </message>
  <message>
   <source>Folder that Tile Orthophoto made.</source>
   <translation>Ordner, den „Orthofoto kacheln“ gemacht hat.</translation>
  </message>
  <message>
   <source>footprint: for buildings, the default. pix2pix: as in the paper.</source>
   <translation>footprint: für Gebäude, die Vorgabe. pix2pix: wie in der Veröffentlichung.</translation>
  </message>
  <message>
   <source>Length of the run. If not set, the preset's.</source>
   <translation>Länge des Laufs. Wenn nicht gesetzt, die der Vorlage.</translation>
  </message>
  <message>
   <source>Trains against the clock instead.</source>
   <translation>Trainiert stattdessen nach der Uhr.</translation>
  </message>
  <message>
   <source>Continues from the last checkpoint, with its settings.</source>
   <translation>Macht beim letzten Checkpoint weiter, mit dessen Einstellungen.</translation>
  </message>
  <message>
   <source>Checkpoint or model file that the run starts from, for a new region or more data.</source>
   <translation>Checkpoint oder Modelldatei, von der der Lauf ausgeht, für eine neue Region oder mehr Daten.</translation>
  </message>
  <message>
   <source>Instead of a file: the model that comes with geofootprint.</source>
   <translation>Statt einer Datei: das mitgelieferte Modell von geofootprint.</translation>
  </message>
  <message>
   <source>Gets checkpoints, scores and pictures.</source>
   <translation>Enthält danach Checkpoints, Kennzahlen und Bilder.</translation>
  </message>
  <message>
   <source>Best checkpoint</source>
   <translation>Bester Checkpoint</translation>
  </message>
  <message>
   <source>Last checkpoint</source>
   <translation>Letzter Checkpoint</translation>
  </message>
  <message>
   <source>IoU of validation</source>
   <translation>IoU der Validierung</translation>
  </message>
  <message>
   <source>Dataset</source>
   <translation>Datensatz</translation>
  </message>
  <message>
   <source>A folder a line; with :0.5 behind it, crops are taken half as often.</source>
   <translation>Ein Ordner pro Zeile; mit :0.5 dahinter werden halb so oft Ausschnitte genommen.</translation>
  </message>
  <message>
   <source>Preset</source>
   <translation>Vorlage</translation>
  </message>
  <message>
   <source>Epochs</source>
   <translation>Epochen</translation>
  </message>
  <message>
   <source>Minutes</source>
   <translation>Minuten</translation>
  </message>
  <message>
   <source>Go on with the run in the folder</source>
   <translation>Den Lauf im Ordner fortsetzen</translation>
  </message>
  <message>
   <source>Start from</source>
   <translation>Ausgehen von</translation>
  </message>
  <message>
   <source>Start from the default model</source>
   <translation>Vom Standardmodell ausgehen</translation>
  </message>
  <message>
   <source>A number, or auto for as many as fit into memory. If empty, as in the settings.</source>
   <translation>Eine Zahl, oder auto für so viele, wie in den Speicher passen. Wenn leer, wie in den Einstellungen.</translation>
  </message>
  <message>
   <source>TOML file with settings that differ from the preset's.</source>
   <translation>TOML-Datei mit Einstellungen, die von der Vorlage abweichen.</translation>
  </message>
  <message>
   <source>Of the arithmetic; auto takes the fastest that is safe.</source>
   <translation>Der Rechnung; auto nimmt die schnellste, die sicher ist.</translation>
  </message>
  <message>
   <source>Graphics cards that share the work.</source>
   <translation>Grafikkarten, die sich die Arbeit teilen.</translation>
  </message>
  <message>
   <source>Of weights, crops and noise.</source>
   <translation>Für Gewichte, Ausschnitte und Rauschen.</translation>
  </message>
  <message>
   <source>Folder of the run</source>
   <translation>Ordner des Laufs</translation>
  </message>
  <message>
   <source>More datasets</source>
   <translation>Weitere Datensätze</translation>
  </message>
  <message>
   <source>Crops to a step</source>
   <translation>Ausschnitte je Schritt</translation>
  </message>
  <message>
   <source>Settings</source>
   <translation>Einstellungen</translation>
  </message>
  <message>
   <source>Precision</source>
   <translation>Genauigkeit</translation>
  </message>
  <message>
   <source>Number of devices</source>
   <translation>Anzahl der Geräte</translation>
  </message>
  <message>
   <source>Checkpoint or model</source>
   <translation>Checkpoint oder Modell</translation>
  </message>
  <message>
   <source>The engine {python} has no PyTorch, which training needs; install it with "{python}" -m pip install "geofootprint[train]".</source>
   <translation>Die Engine {python} hat kein PyTorch, das zum Training nötig ist; installieren Sie es mit "{python}" -m pip install "geofootprint[train]".</translation>
  </message>
  <message>
   <source>Vectorize Probabilities</source>
   <translation>Wahrscheinlichkeiten vektorisieren</translation>
  </message>
  <message>
   <source>Draws outlines of the buildings in a raster of probabilities or a mask.</source>
   <translation>Zeichnet Umrisse der Gebäude in einem Raster von Wahrscheinlichkeiten oder einer Maske.</translation>
  </message>
  <message>
   <source>Draws outlines of the buildings in a raster: probabilities as Predict Probabilities writes them, those of any other program, a mask, or labels (1 building, 2 contour).</source>
   <translation>Zeichnet Umrisse der Gebäude in einem Raster: Wahrscheinlichkeiten, wie „Wahrscheinlichkeiten berechnen“ sie schreibt, solche aus anderen Programmen, eine Maske oder Label (1 Gebäude, 2 Kontur).</translation>
  </message>
  <message>
   <source>building,footprint,probability,mask,polygonize,vectorize,outline</source>
   <translation>Gebäude,Gebäudeumriss,Wahrscheinlichkeit,Maske,Polygonisieren,Vektorisieren,Umriss</translation>
  </message>
  <message>
   <source>Raster of probabilities, mask or labels. Its CRS is the one set in QGIS.</source>
   <translation>Raster mit Wahrscheinlichkeiten, Maske oder Labeln. Es gilt das KBS, das in QGIS gesetzt ist.</translation>
  </message>
  <message>
   <source>Such as 100 for percent. If not set, it is told from the values: 1 or 255.</source>
   <translation>Etwa 100 für Prozent. Wenn nicht gesetzt, wird er aus den Werten bestimmt: 1 oder 255.</translation>
  </message>
  <message>
   <source>Value of a certain building</source>
   <translation>Wert eines sicheren Gebäudes</translation>
  </message>
  <message>
   <source>The layer {layer} has no CRS; set it (Layer &gt; Set CRS of Layer(s)).</source>
   <translation>Der Layer {layer} hat kein KBS; setzen Sie es (Layer &gt; KBS von Layer(n) setzen).</translation>
  </message>
  <message>
   <source>The layer {layer} could not be copied to {path}; is its disk full? {reason}</source>
   <translation>Der Layer {layer} konnte nicht nach {path} kopiert werden; ist der Datenträger dort voll? {reason}</translation>
  </message>
  <message>
   <source>The layer {layer} has no polygons, or none of those asked for is there; draw some, or choose another layer.</source>
   <translation>Der Layer {layer} hat keine Polygone, oder keines der verlangten ist da; zeichnen Sie welche, oder wählen Sie einen anderen Layer.</translation>
  </message>
  <message>
   <source>The polygons of the layer {layer} lie where the CRS {crs} is not defined; check the layer's own CRS.</source>
   <translation>Die Polygone des Layers {layer} liegen dort, wo das KBS {crs} nicht definiert ist; prüfen Sie das KBS des Layers selbst.</translation>
  </message>
  <message>
   <source>Checking the bundle</source>
   <translation>Das Paket wird geprüft</translation>
  </message>
  <message>
   <source>{path} is damaged or is no bundle; download or copy it again.</source>
   <translation>{path} ist beschädigt oder kein Paket; laden oder kopieren Sie die Datei noch einmal.</translation>
  </message>
  <message>
   <source>{path} cannot be read: {why}.</source>
   <translation>{path} lässt sich nicht lesen: {why}.</translation>
  </message>
  <message>
   <source>{path} is of a later kind than this plugin reads; update the plugin.</source>
   <translation>{path} ist von neuerer Art, als dieses Plugin lesen kann; aktualisieren Sie das Plugin.</translation>
  </message>
  <message>
   <source>{path} holds geofootprint {have}, and this plugin needs {wanted}; choose the bundle of that version.</source>
   <translation>{path} enthält geofootprint {have}, und dieses Plugin braucht {wanted}; wählen Sie das Paket dieser Version.</translation>
  </message>
  <message>
   <source>{path} is made for {have}, and this computer is {wanted}; choose the bundle made for that.</source>
   <translation>{path} ist für {have} gemacht, und dieser Computer ist {wanted}; wählen Sie das Paket dafür.</translation>
  </message>
  <message>
   <source>No bundle is at {path}; choose the file again.</source>
   <translation>Bei {path} ist kein Paket; wählen Sie die Datei noch einmal.</translation>
  </message>
  <message>
   <source>Cancelled.</source>
   <translation>Abgebrochen.</translation>
  </message>
  <message>
   <source>the environment variable GEOFOOTPRINT_PYTHON</source>
   <translation>die Umgebungsvariable GEOFOOTPRINT_PYTHON</translation>
  </message>
  <message>
   <source>Settings &gt; Options &gt; geofootprint</source>
   <translation>Einstellungen &gt; Optionen &gt; geofootprint</translation>
  </message>
  <message>
   <source>Set up...</source>
   <translation>Einrichten...</translation>
  </message>
  <message>
   <source>Update...</source>
   <translation>Aktualisieren...</translation>
  </message>
  <message>
   <source>Repair...</source>
   <translation>Reparieren...</translation>
  </message>
  <message>
   <source>Press Set up in Settings &gt; Options &gt; geofootprint.</source>
   <translation>Drücken Sie in Einstellungen &gt; Optionen &gt; geofootprint auf Einrichten.</translation>
  </message>
  <message>
   <source>Press Update in Settings &gt; Options &gt; geofootprint.</source>
   <translation>Drücken Sie in Einstellungen &gt; Optionen &gt; geofootprint auf Aktualisieren.</translation>
  </message>
  <message>
   <source>Press Repair in Settings &gt; Options &gt; geofootprint.</source>
   <translation>Drücken Sie in Einstellungen &gt; Optionen &gt; geofootprint auf Reparieren.</translation>
  </message>
  <message>
   <source>geofootprint needs an engine, and none is set up yet: press Set up in Settings &gt; Options &gt; geofootprint. A Python that has geofootprint can be chosen there too, or be named in the environment variable {variable}.</source>
   <translation>geofootprint braucht eine Engine, und noch ist keine eingerichtet: Drücken Sie in Einstellungen &gt; Optionen &gt; geofootprint auf Einrichten. Dort lässt sich auch ein Python wählen, das geofootprint hat; ebenso kann es die Umgebungsvariable {variable} nennen.</translation>
  </message>
  <message>
   <source>{folder} was not made by this plugin: rename it, and press Set up in Settings &gt; Options &gt; geofootprint.</source>
   <translation>{folder} wurde nicht von diesem Plugin angelegt: Benennen Sie den Ordner um, und drücken Sie in Einstellungen &gt; Optionen &gt; geofootprint auf Einrichten.</translation>
  </message>
  <message>
   <source>{python} does not answer as geofootprint does ({words}).</source>
   <translation>{python} antwortet nicht wie geofootprint ({words}).</translation>
  </message>
  <message>
   <source>Let the environment variable {variable} name a Python that has this plugin's version of geofootprint, or take the variable away, and start QGIS again.</source>
   <translation>Lassen Sie die Umgebungsvariable {variable} ein Python nennen, das geofootprint in der Version dieses Plugins hat, oder löschen Sie die Variable, und starten Sie QGIS neu.</translation>
  </message>
  <message>
   <source>Choose a Python that has this plugin's version of geofootprint in Settings &gt; Options &gt; geofootprint, or leave the field Python empty there, so that the plugin's own engine is taken.</source>
   <translation>Wählen Sie in Einstellungen &gt; Optionen &gt; geofootprint ein Python, das geofootprint in der Version dieses Plugins hat, oder lassen Sie dort das Feld Python leer, damit die eigene Engine des Plugins genommen wird.</translation>
  </message>
  <message>
   <source>{python} gave no answer for {seconds} seconds; first try it once more.</source>
   <translation>{python} hat {seconds} Sekunden lang nicht geantwortet; versuchen Sie es zuerst noch einmal.</translation>
  </message>
  <message>
   <source>No Python is at {python}, where the environment variable {variable} says that it is; correct it and start QGIS again.</source>
   <translation>Bei {python} ist kein Python, obwohl die Umgebungsvariable {variable} es dort nennt; berichtigen Sie sie und starten Sie QGIS neu.</translation>
  </message>
  <message>
   <source>The set-up of the engine in {folder} did not come to its end.</source>
   <translation>Das Einrichten der Engine in {folder} kam nicht zu Ende.</translation>
  </message>
  <message>
   <source>The engine in {folder} has lost its Python, {python}.</source>
   <translation>Der Engine in {folder} fehlt ihr Python {python}.</translation>
  </message>
  <message>
   <source>No Python is at {python}, where Settings &gt; Options &gt; geofootprint says that it is; correct it there, or take the plugin's own engine.</source>
   <translation>Bei {python} ist kein Python, obwohl es unter Einstellungen &gt; Optionen &gt; geofootprint so steht; berichtigen Sie es dort, oder nehmen Sie die eigene Engine des Plugins.</translation>
  </message>
  <message>
   <source>{python} is no Python, or one that does not start.</source>
   <translation>{python} ist kein Python oder eines, das nicht startet.</translation>
  </message>
  <message>
   <source>{program} cannot be started: {why}.</source>
   <translation>{program} lässt sich nicht starten: {why}.</translation>
  </message>
  <message>
   <source>{python} lacks {module}, which geofootprint needs.</source>
   <translation>{python} fehlt {module}, das geofootprint braucht.</translation>
  </message>
  <message>
   <source>The model that belongs to geofootprint is missing in {python}.</source>
   <translation>In {python} fehlt das Modell, das zu geofootprint gehört.</translation>
  </message>
  <message>
   <source>The engine is older than this plugin (protocol {engine} instead of {plugin}).</source>
   <translation>Die Engine ist älter als dieses Plugin (Protokoll {engine} statt {plugin}).</translation>
  </message>
  <message>
   <source>The engine ended with exit code {code}. Its last words: {last}</source>
   <translation>Die Engine endete mit dem Code {code}. Ihre letzten Worte: {last}</translation>
  </message>
  <message>
   <source>{python} has no geofootprint.</source>
   <translation>{python} hat kein geofootprint.</translation>
  </message>
  <message>
   <source>The engine is newer than this plugin (protocol {engine} instead of {plugin}); update the plugin in Plugins &gt; Manage and Install Plugins.</source>
   <translation>Die Engine ist neuer als dieses Plugin (Protokoll {engine} statt {plugin}); aktualisieren Sie das Plugin unter Erweiterungen &gt; Erweiterungen verwalten und installieren.</translation>
  </message>
  <message>
   <source>The engine {python} ended without a result.</source>
   <translation>Die Engine {python} endete ohne Ergebnis.</translation>
  </message>
  <message>
   <source>The engine was killed by the system, most likely because the memory was full.</source>
   <translation>Die Engine wurde vom System beendet, wahrscheinlich weil der Arbeitsspeicher voll war.</translation>
  </message>
  <message>
   <source>The engine crashed ({name}). Its last words: {last}</source>
   <translation>Die Engine ist abgestürzt ({name}). Ihre letzten Worte: {last}</translation>
  </message>
  <message>
   <source>{python} cannot load what geofootprint needs ({words}).</source>
   <translation>{python} kann nicht laden, was geofootprint braucht ({words}).</translation>
  </message>
  <message>
   <source>Looking for Python</source>
   <translation>Python wird gesucht</translation>
  </message>
  <message>
   <source>Making the environment</source>
   <translation>Die Umgebung wird angelegt</translation>
  </message>
  <message>
   <source>Collecting packages</source>
   <translation>Pakete werden geholt</translation>
  </message>
  <message>
   <source>Installing packages</source>
   <translation>Pakete werden installiert</translation>
  </message>
  <message>
   <source>Starting the engine</source>
   <translation>Die Engine wird gestartet</translation>
  </message>
  <message>
   <source>{python} could not make an environment ({words}); choose another Python, or on Debian or Ubuntu run: sudo apt install python3-venv, then try again.</source>
   <translation>{python} konnte keine Umgebung anlegen ({words}); wählen Sie ein anderes Python, oder führen Sie unter Debian oder Ubuntu aus: sudo apt install python3-venv, dann versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>{path} holds no pip; make the bundle anew.</source>
   <translation>{path} enthält kein pip; erstellen Sie das Paket neu.</translation>
  </message>
  <message>
   <source>bundle</source>
   <translation>einer Paketdatei</translation>
  </message>
  <message>
   <source>index</source>
   <translation>einem anderen Paketverzeichnis</translation>
  </message>
  <message>
   <source>Press the button again, or choose another Python under Advanced.</source>
   <translation>Drücken Sie noch einmal auf die Schaltfläche, oder wählen Sie unter Erweitert ein anderes Python.</translation>
  </message>
  <message>
   <source>The disk of {folder} is full: geofootprint needs {needed} there; free some space or choose another folder, then try again.</source>
   <translation>Der Datenträger von {folder} ist voll: geofootprint braucht dort {needed}; schaffen Sie Platz oder wählen Sie einen anderen Ordner, dann versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>{index} cannot be reached: check the network, the proxy and the address of the index and try again, or install from a bundle file.</source>
   <translation>{index} ist nicht erreichbar: Prüfen Sie das Netzwerk, den Proxy und die Adresse des Paketverzeichnisses und versuchen Sie es erneut, oder installieren Sie aus einer Paketdatei.</translation>
  </message>
  <message>
   <source>{index} has no geofootprint {version} for Python {series}: correct the address of the index, choose another Python, or install from a bundle file.</source>
   <translation>{index} hat kein geofootprint {version} für Python {series}: Berichtigen Sie die Adresse des Paketverzeichnisses, wählen Sie ein anderes Python, oder installieren Sie aus einer Paketdatei.</translation>
  </message>
  <message>
   <source>PyPI, or the index that pip is set to, cannot be reached: check the network and the proxy and try again, or install from a bundle file.</source>
   <translation>PyPI oder das Paketverzeichnis, auf das pip eingestellt ist, ist nicht erreichbar: Prüfen Sie das Netzwerk und den Proxy und versuchen Sie es erneut, oder installieren Sie aus einer Paketdatei.</translation>
  </message>
  <message>
   <source>PyPI, or the index that pip is set to, has no geofootprint {version} for Python {series}: install from a bundle file or from another package index, or choose another Python.</source>
   <translation>PyPI oder das Paketverzeichnis, auf das pip eingestellt ist, hat kein geofootprint {version} für Python {series}: Installieren Sie aus einer Paketdatei oder aus einem anderen Paketverzeichnis, oder wählen Sie ein anderes Python.</translation>
  </message>
  <message>
   <source>pip could not install geofootprint ({words}); the lines above tell more. Try again, or choose another Python.</source>
   <translation>pip konnte geofootprint nicht installieren ({words}); die Zeilen darüber sagen mehr. Versuchen Sie es erneut, oder wählen Sie ein anderes Python.</translation>
  </message>
  <message>
   <source>The proxy does not answer, or refuses: correct it under Proxy and try again, or install from a bundle file.</source>
   <translation>Der Proxy antwortet nicht oder lehnt ab: Berichtigen Sie ihn unter Proxy und versuchen Sie es erneut, oder installieren Sie aus einer Paketdatei.</translation>
  </message>
  <message>
   <source>The certificate of {index} is not trusted, as it happens behind a company's firewall: ask for pip's setting 'cert', or install from a bundle file.</source>
   <translation>Dem Zertifikat von {index} wird nicht vertraut, wie es hinter der Firewall einer Firma vorkommt: Fragen Sie dort nach der Einstellung 'cert' für pip, oder installieren Sie aus einer Paketdatei.</translation>
  </message>
  <message>
   <source>{index} asks for a name and a password: write them into its address (https://name:password@...) and try again.</source>
   <translation>{index} verlangt Namen und Passwort: Schreiben Sie sie in die Adresse (https://name:passwort@...) und versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>{index} is not encrypted, so that pip does not trust it: give its https address, or name it in pip's setting 'trusted-host', and try again.</source>
   <translation>{index} ist nicht verschlüsselt, daher vertraut pip ihm nicht: Geben Sie die https-Adresse an, oder nennen Sie es in der Einstellung 'trusted-host' von pip, und versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>A package arrived damaged from {index}; try again.</source>
   <translation>Ein Paket kam beschädigt von {index}; versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>Not all that geofootprint needs is there for Python {series} on this computer ({words}); choose another Python, or install from a bundle file.</source>
   <translation>Nicht alles, was geofootprint braucht, gibt es für Python {series} auf diesem Computer ({words}); wählen Sie ein anderes Python, oder installieren Sie aus einer Paketdatei.</translation>
  </message>
  <message>
   <source>{folder} cannot be written: choose another folder, or end what uses it, and try again.</source>
   <translation>{folder} lässt sich nicht beschreiben: Wählen Sie einen anderen Ordner, oder beenden Sie, was ihn benutzt, und versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>{folder} cannot be written ({why}); choose another folder, or end what uses it, and try again.</source>
   <translation>{folder} lässt sich nicht beschreiben ({why}); wählen Sie einen anderen Ordner, oder beenden Sie, was ihn benutzt, und versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>{folder} was not made by this plugin and is left alone; choose another folder, or choose it as Python in Settings &gt; Options &gt; geofootprint.</source>
   <translation>{folder} wurde nicht von diesem Plugin angelegt und bleibt unberührt; wählen Sie einen anderen Ordner, oder wählen Sie ihn in Einstellungen &gt; Optionen &gt; geofootprint als Python.</translation>
  </message>
  <message>
   <source>{folder} cannot be removed ({why}); end what uses it, and press the button again.</source>
   <translation>{folder} lässt sich nicht entfernen ({why}); beenden Sie, was den Ordner benutzt, und drücken Sie noch einmal auf die Schaltfläche.</translation>
  </message>
  <message>
   <source>{folder} is in use ({why}); end algorithms of geofootprint that are running, and press the button again.</source>
   <translation>{folder} ist in Gebrauch ({why}); beenden Sie laufende Algorithmen von geofootprint, und drücken Sie noch einmal auf die Schaltfläche.</translation>
  </message>
  <message>
   <source>Another window of QGIS is setting up {folder}; wait until it is done.</source>
   <translation>Ein anderes Fenster von QGIS richtet {folder} gerade ein; warten Sie, bis es fertig ist.</translation>
  </message>
  <message>
   <source>What {page} gave as pip is damaged; try again.</source>
   <translation>Was {page} als pip geliefert hat, ist beschädigt; versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>pip cannot be fetched from {page} ({why}): check the network, the proxy and the address of the index and try again, or install from a bundle file.</source>
   <translation>pip lässt sich nicht von {page} holen ({why}): Prüfen Sie das Netzwerk, den Proxy und die Adresse des Paketverzeichnisses und versuchen Sie es erneut, oder installieren Sie aus einer Paketdatei.</translation>
  </message>
  <message>
   <source>geofootprint needs Python {oldest} or newer, and this computer has {have}; install one (on Debian or Ubuntu: sudo apt install python3 python3-venv, elsewhere from python.org) and try again.</source>
   <translation>geofootprint braucht Python {oldest} oder neuer, und dieser Computer hat {have}; installieren Sie eines (unter Debian oder Ubuntu: sudo apt install python3 python3-venv, sonst von python.org) und versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>geofootprint needs Python {oldest} or newer, and none was found; install one (on Debian or Ubuntu: sudo apt install python3 python3-venv, elsewhere from python.org) and try again.</source>
   <translation>geofootprint braucht Python {oldest} oder neuer, und keines wurde gefunden; installieren Sie eines (unter Debian oder Ubuntu: sudo apt install python3 python3-venv, sonst von python.org) und versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>The bundle is for Python {series}, and this computer has {have}; take the bundle for one of these, or install Python {series} and try again.</source>
   <translation>Das Paket ist für Python {series}, und dieser Computer hat {have}; nehmen Sie das Paket für eines davon, oder installieren Sie Python {series} und versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>No Python here can make an environment; on Debian or Ubuntu run: sudo apt install python3-venv, elsewhere install Python from python.org, then try again.</source>
   <translation>Kein Python hier kann eine Umgebung anlegen; führen Sie unter Debian oder Ubuntu aus: sudo apt install python3-venv, oder installieren Sie sonst Python von python.org, dann versuchen Sie es erneut.</translation>
  </message>
  <message>
   <source>{path} is not a Python that starts; choose another one under Python.</source>
   <translation>{path} ist kein Python, das sich starten lässt; wählen Sie unter Python ein anderes.</translation>
  </message>
  <message>
   <source>Segment Buildings...</source>
   <translation>Gebäude erkennen...</translation>
  </message>
  <message>
   <source>Find the buildings of the active raster layer</source>
   <translation>Die Gebäude des aktiven Rasterlayers finden</translation>
  </message>
  <message>
   <source>Try It With a Demo Scene</source>
   <translation>Mit einer Demoszene ausprobieren</translation>
  </message>
  <message>
   <source>A demo scene is being made; that takes about half a minute.</source>
   <translation>Eine Demoszene wird erzeugt; das dauert etwa eine halbe Minute.</translation>
  </message>
  <message>
   <source>Demo orthophoto</source>
   <translation>Demo-Orthofoto</translation>
  </message>
  <message>
   <source>See the log for the reason.</source>
   <translation>Der Grund steht im Protokoll.</translation>
  </message>
  <message>
   <source>Check</source>
   <translation>Prüfen</translation>
  </message>
  <message>
   <source>Remove</source>
   <translation>Entfernen</translation>
  </message>
  <message>
   <source>Python that has geofootprint</source>
   <translation>Python mit geofootprint</translation>
  </message>
  <message>
   <source>Engine</source>
   <translation>Engine</translation>
  </message>
  <message>
   <source>Another engine</source>
   <translation>Eine andere Engine</translation>
  </message>
  <message>
   <source>Python</source>
   <translation>Python</translation>
  </message>
  <message>
   <source>geofootprint finds buildings with an engine in a Python of its own, apart from that of QGIS. Set up installs it in a folder below your home folder.</source>
   <translation>geofootprint erkennt Gebäude mit einer Engine in einem eigenen Python, getrennt von dem von QGIS. Einrichten installiert sie in einem Ordner unter Ihrem Benutzerordner.</translation>
  </message>
  <message>
   <source>Where geofootprint is installed already, choose its Python or the folder of its environment here; it goes before the engine that was set up.</source>
   <translation>Ist geofootprint schon installiert, wählen Sie hier sein Python oder den Ordner seiner Umgebung; es geht der eingerichteten Engine vor.</translation>
  </message>
  <message>
   <source>Remove the engine in {folder}? It can be set up again at any time.</source>
   <translation>Die Engine in {folder} entfernen? Sie lässt sich jederzeit wieder einrichten.</translation>
  </message>
  <message>
   <source>Its PyTorch, which training needs, is removed too and would have to be installed again.</source>
   <translation>Auch das PyTorch darin, das zum Training nötig ist, wird entfernt und müsste neu installiert werden.</translation>
  </message>
  <message>
   <source>geofootprint {version} works.</source>
   <translation>geofootprint {version} funktioniert.</translation>
  </message>
  <message>
   <source>Python {number}: {python}</source>
   <translation>Python {number}: {python}</translation>
  </message>
  <message>
   <source>Model: {model}</source>
   <translation>Modell: {model}</translation>
  </message>
  <message>
   <source>Protocol: {protocol}</source>
   <translation>Protokoll: {protocol}</translation>
  </message>
  <message>
   <source>Python: {python}</source>
   <translation>Python: {python}</translation>
  </message>
  <message>
   <source>The plugin is newer ({version}): update the engine.</source>
   <translation>Das Plugin ist neuer ({version}): Aktualisieren Sie die Engine.</translation>
  </message>
  <message>
   <source>No engine is set up yet: press Set up.</source>
   <translation>Noch ist keine Engine eingerichtet: Drücken Sie auf Einrichten.</translation>
  </message>
  <message>
   <source>Set up: geofootprint {version} from {source}, with Python {number} ({python})</source>
   <translation>Eingerichtet: geofootprint {version} aus {source}, mit Python {number} ({python})</translation>
  </message>
  <message>
   <source>Found by: {origin}</source>
   <translation>Gefunden durch: {origin}</translation>
  </message>
  <message>
   <source>The environment variable {variable} is set and goes before everything here.</source>
   <translation>Die Umgebungsvariable {variable} ist gesetzt und geht allem hier vor.</translation>
  </message>
  <message>
   <source>The engine in {folder} is removed.</source>
   <translation>Die Engine in {folder} ist entfernt.</translation>
  </message>
  <message>
   <source>Set up geofootprint's engine</source>
   <translation>Die Engine von geofootprint einrichten</translation>
  </message>
  <message>
   <source>Set up</source>
   <translation>Einrichten</translation>
  </message>
  <message>
   <source>Update geofootprint's engine</source>
   <translation>Die Engine von geofootprint aktualisieren</translation>
  </message>
  <message>
   <source>Update</source>
   <translation>Aktualisieren</translation>
  </message>
  <message>
   <source>Repair geofootprint's engine</source>
   <translation>Die Engine von geofootprint reparieren</translation>
  </message>
  <message>
   <source>Repair</source>
   <translation>Reparieren</translation>
  </message>
  <message>
   <source>geofootprint finds buildings with an engine in a Python of its own, so that nothing in QGIS is changed. It is installed once: about 350 MB to download and 1 GB on the disk.</source>
   <translation>geofootprint erkennt Gebäude mit einer Engine in einem eigenen Python, sodass in QGIS nichts verändert wird. Sie wird einmal installiert: etwa 350 MB zum Herunterladen und 1 GB auf dem Datenträger.</translation>
  </message>
  <message>
   <source>Cancel</source>
   <translation>Abbrechen</translation>
  </message>
  <message>
   <source>Close</source>
   <translation>Schließen</translation>
  </message>
  <message>
   <source>The engine is being set up. Stop it and close the window?</source>
   <translation>Die Engine wird gerade eingerichtet. Abbrechen und das Fenster schließen?</translation>
  </message>
  <message>
   <source>Take the engine from</source>
   <translation>Die Engine kommt</translation>
  </message>
  <message>
   <source>the internet (PyPI, or the index that pip is set to)</source>
   <translation>aus dem Internet (PyPI, oder wie für pip eingestellt)</translation>
  </message>
  <message>
   <source>another package index</source>
   <translation>aus anderem Paketverzeichnis</translation>
  </message>
  <message>
   <source>a bundle file, without internet</source>
   <translation>aus einer Paketdatei, ohne Internet</translation>
  </message>
  <message>
   <source>Choose the bundle</source>
   <translation>Paketdatei wählen</translation>
  </message>
  <message>
   <source>this computer, where it is installed already</source>
   <translation>von diesem Computer, wo sie schon installiert ist</translation>
  </message>
  <message>
   <source>The package index has no address; write it into the field, or take the engine from elsewhere.</source>
   <translation>Das Paketverzeichnis hat keine Adresse; schreiben Sie sie in das Feld, oder nehmen Sie die Engine von anderswo.</translation>
  </message>
  <message>
   <source>Advanced</source>
   <translation>Erweitert</translation>
  </message>
  <message>
   <source>as the system says, or http://proxy:3128</source>
   <translation>wie im System eingestellt, oder http://proxy:3128</translation>
  </message>
  <message>
   <source>chosen automatically</source>
   <translation>automatisch gewählt</translation>
  </message>
  <message>
   <source>Folder of the environment</source>
   <translation>Ordner der Umgebung</translation>
  </message>
  <message>
   <source>Proxy</source>
   <translation>Proxy</translation>
  </message>
  <message>
   <source>Folder</source>
   <translation>Ordner</translation>
  </message>
  <message>
   <source>The engine in {folder} has PyTorch, which training needs. The new engine comes without it; install it again afterwards with "{python}" -m pip install "geofootprint[train]". Go on?</source>
   <translation>Die Engine in {folder} hat PyTorch, das zum Training nötig ist. Die neue Engine kommt ohne PyTorch; installieren Sie es danach wieder mit "{python}" -m pip install "geofootprint[train]". Fortfahren?</translation>
  </message>
  <message>
   <source>Cancelling</source>
   <translation>Wird abgebrochen</translation>
  </message>
  <message>
   <source>Cancelled; everything is as it was before.</source>
   <translation>Abgebrochen; alles ist, wie es vorher war.</translation>
  </message>
  <message>
   <source>Choose another one in the list, or have one installed.</source>
   <translation>Wählen Sie eine andere aus der Liste, oder lassen Sie eine installieren.</translation>
  </message>
  <message>
   <source>Bundles</source>
   <translation>Paketdateien</translation>
  </message>
  <message>
   <source>No bundle file is chosen; choose it, or take the engine from elsewhere.</source>
   <translation>Keine Paketdatei ist gewählt; wählen Sie sie, oder nehmen Sie die Engine von anderswo.</translation>
  </message>
  <message>
   <source>geofootprint {version} works (Python {python}, model {model}). You can close this window.</source>
   <translation>geofootprint {version} funktioniert (Python {python}, Modell {model}). Sie können dieses Fenster schließen.</translation>
  </message>
  <message>
   <source>Checking the engine</source>
   <translation>Die Engine wird geprüft</translation>
  </message>
  <message>
   <source>Set Up Engine...</source>
   <translation>Engine einrichten...</translation>
  </message>
  <message>
   <source>Its engine has to be set up once.</source>
   <translation>Die Engine muss einmal eingerichtet werden.</translation>
  </message>
  <message>
   <source>This should not have happened ({what}); press the button again.</source>
   <translation>Das hätte nicht geschehen sollen ({what}); drücken Sie noch einmal auf die Schaltfläche.</translation>
  </message>
 </context>
</TS>
